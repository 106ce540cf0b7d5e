package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/buildkite/go-pipeline"
	"github.com/buildkite/go-pipeline/signature"
	"github.com/lestrrat-go/jwx/v3/jwk"
)

// result is one pass; the harness on the other end of the pipe decides when the next one starts, and reads this
// process's peak memory from outside, the same way for both sides.
type result struct {
	Items      int     `json:"items"`
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
}

func bench(ctx context.Context, operation string, o options) error {
	input, err := os.ReadFile(o.input)
	if err != nil {
		return err
	}
	pass, err := preparePass(ctx, operation, input, o)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		before, err := cpuSeconds()
		if err != nil {
			return err
		}
		start := time.Now()
		items, err := pass()
		seconds := time.Since(start).Seconds()
		if err != nil {
			return err
		}
		after, err := cpuSeconds()
		if err != nil {
			return err
		}
		if err := out.Encode(result{items, seconds, after - before}); err != nil {
			return err
		}
	}
	return nil
}

// preparePass does what is not timed and returns what is; one call handles the whole input once.
func preparePass(ctx context.Context, operation string, input []byte, o options) (func() (int, error), error) {
	switch operation {
	case "parse":
		return func() (int, error) {
			p, err := readPipeline(bytes.NewReader(input))
			if err != nil {
				return 0, err
			}
			return len(p.Steps), nil
		}, nil
	case "sign":
		p, err := readPipeline(bytes.NewReader(input))
		if err != nil {
			return nil, err
		}
		key, err := readSigningKey(o)
		if err != nil {
			return nil, err
		}
		env := p.Env.ToMap()
		commands := 0
		for _, step := range p.Steps {
			if _, is := step.(*pipeline.CommandStep); is {
				commands++
			}
		}
		return func() (int, error) {
			return commands, signature.SignSteps(ctx, p.Steps, key, o.repo, signature.WithEnv(env))
		}, nil
	case "verify":
		return prepareVerify(ctx, input, o)
	case "verify-job":
		keys, err := readKeys(o.jwks)
		if err != nil {
			return nil, err
		}
		jobs := bytes.Split(bytes.TrimSpace(input), []byte("\n"))
		o.job = true
		return func() (int, error) {
			for _, raw := range jobs {
				if err := verifyRaw(ctx, raw, keys, o); err != nil {
					return 0, err
				}
			}
			return len(jobs), nil
		}, nil
	}
	return nil, fmt.Errorf("unknown operation %q", operation)
}

func prepareVerify(ctx context.Context, input []byte, o options) (func() (int, error), error) {
	keys, err := readKeys(o.jwks)
	if err != nil {
		return nil, err
	}
	var jobs []job
	for _, raw := range bytes.Split(bytes.TrimSpace(input), []byte("\n")) {
		var j job
		if err := json.Unmarshal(raw, &j); err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return func() (int, error) {
		for i := range jobs {
			if err := verifyDecoded(ctx, &jobs[i], keys); err != nil {
				return 0, err
			}
		}
		return len(jobs), nil
	}, nil
}

func verifyDecoded(ctx context.Context, j *job, keys jwk.Set) error {
	return signature.VerifyStep(ctx, &j.Step, keys, j.Env["BUILDKITE_REPO"], signature.WithEnv(j.Env))
}

// cpuSeconds returns the CPU time this process used so far, on all cores.
func cpuSeconds() (float64, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, err
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds(), nil
}
