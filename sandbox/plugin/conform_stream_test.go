//go:build linux

package plugin

import (
	"log/slog"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/sandboxtest"
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
)

func TestConformance_Streams(t *testing.T) {
	artifact := build("duplexfixture")
	sandboxtest.RunStreams(t, sandboxtest.StreamConfig{
		Driver: func(t *testing.T, dir string) sandbox.Driver {
			return newDriver(t, dir, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(t.Output(), nil)) })
		},
		Build: func(t *testing.T) (string, functions.Manifest) {
			m := fixtureManifest(t, artifact(t))
			in, out, err := fixture.Duplex.Ports()
			if err != nil {
				t.Fatal(err)
			}
			m.Name, m.In, m.Out = fixture.Duplex.Name(), in, out
			return artifact(t), m
		},
		Ahead: 12,
	})
}
