// A peer of Pipeseal on the published module go-pipeline: it parses, signs and verifies pipelines, and times itself.
//
// Every subcommand reads standard input and writes JSON to standard output:
//
//	peer parse                                  pipeline (YAML or JSON) -> pipeline as go-pipeline marshals it
//	peer sign   --jwks FILE --repo URL          pipeline (YAML or JSON) -> the same, signed
//	peer verify --jwks FILE [--repo URL] [--job]  list of jobs -> list of {ok, error}
//	peer bench  OPERATION --input FILE [...]    one line of JSON for each line read: seconds of one pass over the input
//
// A job is {"step": {...}, "env": {...}, "matrix_permutation": {...} or null}. Without --repo, the repository is the
// job's BUILDKITE_REPO. With --job, the job is compared with its signed step too, as an agent does before it runs it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/buildkite/go-pipeline"
	"github.com/buildkite/go-pipeline/signature"
	"github.com/buildkite/go-pipeline/warning"
	"github.com/lestrrat-go/jwx/v3/jwk"
)

type options struct {
	jwks  string
	keyID string
	repo  string
	input string
	job   bool
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("say what to do: parse, sign, verify or bench"))
	}
	command, arguments, operation := os.Args[1], os.Args[2:], ""
	if command == "bench" {
		if len(arguments) == 0 {
			fail(errors.New("say what to time: parse, sign, verify or verify-job"))
		}
		operation, arguments = arguments[0], arguments[1:]
	}
	var o options
	flags := flag.NewFlagSet(command, flag.ExitOnError)
	flags.StringVar(&o.jwks, "jwks", "", "file with a JWK set: private to sign, public to verify")
	flags.StringVar(&o.keyID, "key-id", "", "which key of the set signs; not needed when it has one")
	flags.StringVar(&o.repo, "repo", "", "URL of the repository")
	flags.StringVar(&o.input, "input", "", "file that bench reads: a pipeline, or one job a line")
	flags.BoolVar(&o.job, "job", false, "compare each job with its signed step too")
	_ = flags.Parse(arguments)

	ctx := context.Background()
	var err error
	switch command {
	case "parse":
		err = parse()
	case "sign":
		err = sign(ctx, o)
	case "verify":
		err = verify(ctx, o)
	case "bench":
		err = bench(ctx, operation, o)
	default:
		err = fmt.Errorf("unknown command %q", command)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "peer:", err)
	os.Exit(1)
}

func parse() error {
	p, err := readPipeline(os.Stdin)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(p)
}

func sign(ctx context.Context, o options) error {
	p, err := readPipeline(os.Stdin)
	if err != nil {
		return err
	}
	key, err := readSigningKey(o)
	if err != nil {
		return err
	}
	if err := signature.SignSteps(ctx, p.Steps, key, o.repo, signature.WithEnv(p.Env.ToMap())); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(p)
}

type verdict struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

func verify(ctx context.Context, o options) error {
	keys, err := readKeys(o.jwks)
	if err != nil {
		return err
	}
	var jobs []json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&jobs); err != nil {
		return fmt.Errorf("decoding the list of jobs: %w", err)
	}
	verdicts := make([]verdict, len(jobs))
	for i, raw := range jobs {
		if err := verifyRaw(ctx, raw, keys, o); err != nil {
			verdicts[i] = verdict{Error: err.Error()}
		} else {
			verdicts[i] = verdict{OK: true}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}

func verifyRaw(ctx context.Context, raw []byte, keys jwk.Set, o options) error {
	var j job
	if err := json.Unmarshal(raw, &j); err != nil {
		return fmt.Errorf("decoding the job: %w", err)
	}
	if o.job {
		return j.verify(ctx, keys)
	}
	repo := o.repo
	if repo == "" {
		repo = j.Env["BUILDKITE_REPO"]
	}
	return signature.VerifyStep(ctx, &j.Step, keys, repo, signature.WithEnv(j.Env))
}

// readPipeline parses the first document; warnings are fine, as they are for an upload.
func readPipeline(source io.Reader) (*pipeline.Pipeline, error) {
	p, err := pipeline.Parse(source)
	if err != nil && warning.As(err) == nil {
		return nil, fmt.Errorf("parsing the pipeline: %w", err)
	}
	return p, nil
}

func readKeys(path string) (jwk.Set, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	keys, err := jwk.Parse(body)
	if err != nil {
		return nil, fmt.Errorf("reading the keys in %s: %w", path, err)
	}
	return keys, nil
}

// readSigningKey takes any algorithm; jwkutil.LoadKey has only the three that agents sign with.
func readSigningKey(o options) (jwk.Key, error) {
	keys, err := readKeys(o.jwks)
	if err != nil {
		return nil, err
	}
	if o.keyID != "" {
		key, found := keys.LookupKeyID(o.keyID)
		if !found {
			return nil, fmt.Errorf("no key %q in %s", o.keyID, o.jwks)
		}
		return key, nil
	}
	if keys.Len() != 1 {
		return nil, fmt.Errorf("%s holds %d keys: say which with --key-id", o.jwks, keys.Len())
	}
	key, _ := keys.Key(0)
	return key, nil
}
