package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/catenary-run/catenary/gpu"
	"github.com/catenary-run/catenary/gpu/openai"
	"github.com/catenary-run/catenary/internal/project"
	"github.com/catenary-run/catenary/internal/strictyaml"
)

// endpointsFile is what serve --endpoints names: what this node knows of servers that models name by their URL.
type endpointsFile struct {
	Endpoints []endpoint `yaml:"endpoints"`
}

type endpoint struct {
	URL     string `yaml:"url"`
	KeyEnv  string `yaml:"key_env"`
	KeyFile string `yaml:"key_file"`
	Slots   int    `yaml:"slots"`

	Command []string         `yaml:"command"`
	Env     []string         `yaml:"env"`
	Start   project.Duration `yaml:"start"`

	Places strictyaml.Places `yaml:",pos"`
}

// loadEndpoints reads the file at path; without a path there are none. Paths in it are relative to its folder.
func loadEndpoints(path string) ([]gpu.Endpoint, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--endpoints: %w", err)
	}
	var file endpointsFile
	if err := strictyaml.Decode(path, data, &file); err != nil {
		return nil, err
	}
	var all []gpu.Endpoint
	var faults []error
	first := map[string]string{} // places by URL
	for _, e := range file.Endpoints {
		next := gpu.Endpoint{
			URL: e.URL, Key: openai.Key{Env: e.KeyEnv, File: e.KeyFile}, Slots: e.Slots,
			Command: e.Command, Env: e.Env, StartLimit: time.Duration(e.Start),
		}
		if e.KeyFile != "" && !filepath.IsAbs(e.KeyFile) {
			next.Key.File = filepath.Join(filepath.Dir(path), e.KeyFile)
		}
		place := e.Places.Of("url")
		if err := next.Validate(); err != nil {
			faults = append(faults, strictyaml.At(place, err))
		} else if first[e.URL] != "" {
			faults = append(faults, strictyaml.At(place, fmt.Errorf("endpoint %s is there twice: the first is at %s; remove one", e.URL, first[e.URL])))
		}
		first[e.URL] = place
		all = append(all, next)
	}
	return all, errors.Join(faults...)
}
