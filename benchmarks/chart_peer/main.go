// Renders the templates of a Helm chart with Go's own template engine and the functions that Helm gives them, so that
// the chart can be tested without a cluster and without Helm.
//
//	chart_peer CHART RELEASE VALUES.json < nothing > one YAML stream
//
// VALUES.json holds all values, those of the chart included.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(chart, release, valuesFile string) error {
	var described, values map[string]any
	text, err := os.ReadFile(filepath.Join(chart, "Chart.yaml"))
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, &described); err != nil {
		return err
	}
	text, err = os.ReadFile(valuesFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	// Helm names the members of Chart with capitals.
	shown := map[string]any{}
	for name, value := range described {
		shown[strings.ToUpper(name[:1])+name[1:]] = value
	}
	data := map[string]any{
		"Chart":   shown,
		"Values":  values,
		"Release": map[string]any{"Name": release, "Namespace": "ci", "Service": "Helm"},
	}

	all := template.New("chart").Option("missingkey=zero")
	functions := sprig.TxtFuncMap()
	delete(functions, "env") // Helm takes these two away
	delete(functions, "expandenv")
	functions["toYaml"] = func(value any) string {
		text, err := yaml.Marshal(value)
		if err != nil {
			return ""
		}
		return strings.TrimSuffix(string(text), "\n")
	}
	functions["include"] = func(name string, data any) (string, error) {
		var out bytes.Buffer
		err := all.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	all.Funcs(functions)

	files, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil {
		return err
	}
	sort.Strings(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := all.New(filepath.Base(file)).Parse(string(text)); err != nil {
			return err
		}
	}
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "_") {
			continue
		}
		var out bytes.Buffer
		if err := all.ExecuteTemplate(&out, name, data); err != nil {
			return err
		}
		// Helm leaves an unset value empty where Go says that there is none.
		rendered := strings.ReplaceAll(out.String(), "<no value>", "")
		if strings.HasSuffix(name, ".yaml") {
			fmt.Printf("---\n%s\n", rendered)
		}
	}
	return nil
}
