package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/buildkite/go-pipeline"
	"github.com/buildkite/go-pipeline/signature"
	"github.com/gowebpki/jcs"
	"github.com/lestrrat-go/jwx/v3/jwk"
)

// job is the part of a job that verification looks at, as the control plane sends it.
type job struct {
	Env               map[string]string          `json:"env"`
	Step              pipeline.CommandStep       `json:"step"`
	MatrixPermutation pipeline.MatrixPermutation `json:"matrix_permutation"`
}

// verify does what an agent must do before it runs a job: the signature, then the matrix, then whether what the job
// would run is what was signed.
func (j *job) verify(ctx context.Context, keys jwk.Set) error {
	if err := signature.VerifyStep(ctx, &j.Step, keys, j.Env["BUILDKITE_REPO"], signature.WithEnv(j.Env)); err != nil {
		return err
	}
	if err := j.Step.InterpolateMatrixPermutation(j.MatrixPermutation); err != nil {
		return err
	}
	for _, field := range j.Step.Signature.SignedFields {
		if err := j.compare(field); err != nil {
			return fmt.Errorf("job does not match signed step: %w", err)
		}
	}
	return nil
}

func (j *job) compare(field string) error {
	switch field {
	case "command":
		if j.Step.Command != j.Env["BUILDKITE_COMMAND"] {
			return errors.New("command differs")
		}
	case "env":
		for name, value := range j.Step.Env {
			if got, has := j.Env[name]; !has || got != value {
				return fmt.Errorf("variable %s differs", name)
			}
		}
	case "plugins":
		return comparePlugins(j.Step.Plugins, j.Env["BUILDKITE_PLUGINS"])
	case "matrix", "repository_url", "secrets":
		// Nothing of the job's own to compare: they were taken from the step or the signature covered them.
	default:
		// The values of env:: fields came from the job when the signature was verified.
		if _, is := strings.CutPrefix(field, signature.EnvNamespacePrefix); !is {
			return fmt.Errorf("signed field %q is not known", field)
		}
	}
	return nil
}

func comparePlugins(plugins pipeline.Plugins, text string) error {
	none := text == "" || text == "null" || text == "[]"
	switch {
	case len(plugins) == 0 && none:
		return nil
	case (len(plugins) == 0) != none:
		return errors.New("plugins on one side only")
	}
	raw, err := json.Marshal(plugins)
	if err != nil {
		return err
	}
	signed, err := jcs.Transform(raw)
	if err != nil {
		return err
	}
	received, err := jcs.Transform([]byte(text))
	if err != nil {
		return err
	}
	if !bytes.Equal(signed, received) {
		return errors.New("plugins differ")
	}
	return nil
}
