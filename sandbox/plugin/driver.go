package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

// Config says how a driver works.
type Config struct {
	// Dir is the driver's own folder, made with mode 0700 if it is not there: executable copies of artifacts, and the
	// socket folders of running instances. Several processes may share it.
	Dir string
	// Confine is the command that calls [Confine] with the arguments that follow, such as
	// {"/usr/bin/catenary", "confine"}.
	Confine []string
	// Log gets the lines that plugins write outside of calls, and what holds plugins less well on this machine than it
	// could; nil drops them.
	Log *slog.Logger
	// StartTimeout is how long a plugin may take until it is ready; zero takes [DefaultStartTimeout].
	StartTimeout time.Duration
}

// DefaultStartTimeout is long enough to load a model of some hundred megabytes from a cold disk.
const DefaultStartTimeout = 10 * time.Second

// Words that an image has for people.
const (
	whyNotCaptured = "a plugin starts as a process"
	noNamespace    = ", here without a PID namespace: what it starts may outlive it"
)

var errLinuxOnly = fmt.Errorf("%w: a plugin needs a node on Linux, this one runs %s", functions.ErrInvalid, runtime.GOOS)

// Driver is a sandbox.Driver for plugins.
type Driver struct {
	cfg       Config
	artifacts string // folder of executable copies, by digest
	instances string // folder of socket folders
	userBase  uint   // see confinement
	oneUser   bool
	clone     uint // see confinement; 0 where there is no PID namespace to be had
}

// New returns a driver. It removes the socket folders of processes that were killed. It returns an error if the folder
// can't be made.
func New(cfg Config) (*Driver, error) {
	if cfg.Dir == "" || len(cfg.Confine) == 0 {
		return nil, fmt.Errorf("%w: plugin driver: Dir and Confine must be set", functions.ErrInvalid)
	}
	if cfg.StartTimeout < 0 {
		return nil, fmt.Errorf("%w: plugin driver: StartTimeout must not be negative", functions.ErrInvalid)
	}
	cfg.StartTimeout = cmp.Or(cfg.StartTimeout, DefaultStartTimeout)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("plugin driver: %w", err)
	}
	d := &Driver{cfg: cfg, artifacts: filepath.Join(dir, "artifacts"), instances: filepath.Join(dir, "instances")}
	for _, sub := range []string{dir, d.artifacts, d.instances} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return nil, fmt.Errorf("plugin driver: %w", err)
		}
	}
	d.userBase, d.oneUser = thisPluginUser()
	if runtime.GOOS == "linux" {
		d.findMeans()
	}
	return d, sweepFolders(d.instances)
}

// findMeans finds out what the kernel lends to hold plugins, and logs what it does not.
func (d *Driver) findMeans() {
	var err error
	if d.clone, err = findNamespace(d.instances); err != nil {
		d.cfg.Log.Warn("plugins get no PID namespace, so processes that they start may outlive them: "+
			"run the server with CAP_SYS_ADMIN, or as a user who may make user namespaces", "err", err)
	}
	if err := childrenKnown(); err != nil {
		d.cfg.Log.Warn("the memory of processes that plugins start is not counted: the kernel lacks CONFIG_PROC_CHILDREN", "err", err)
	}
}

// why returns what an image of a plugin has for people.
func (d *Driver) why() string {
	if d.clone == 0 {
		return whyNotCaptured + noNamespace
	}
	return whyNotCaptured
}

// Kinds returns the one kind that the driver runs.
func (d *Driver) Kinds() []functions.Kind { return []functions.Kind{functions.KindPlugin} }

// Prepare checks the artifact, keeps an executable copy, and asks a process of it whether it serves what the manifest
// says. That start is left out if an earlier one with the same arguments was asked already.
func (d *Driver) Prepare(ctx context.Context, m *functions.Manifest, artifact string) (*sandbox.Image, error) {
	if runtime.GOOS != "linux" {
		return nil, errLinuxOnly
	}
	if m.Kind != functions.KindPlugin {
		return nil, fmt.Errorf("%w: function %s is of kind %s, not plugin", functions.ErrInvalid, m.Name, m.Kind)
	}
	program, err := d.keep(artifact, m.Artifact)
	if err != nil {
		return nil, fmt.Errorf("function %s: %w", m.Name, err)
	}
	img := &sandbox.Image{Manifest: m, Version: m.Digest(), Artifact: artifact, Dir: d.artifacts, Why: d.why()}
	said, err := d.described(program, m.Args)
	if errors.Is(err, os.ErrNotExist) {
		if said, err = d.describe(ctx, img, program); err == nil {
			err = d.remember(program, m.Args, said)
		}
	}
	if err != nil {
		return nil, err
	}
	return img, said.check(m)
}

// describe starts an instance and asks it what it serves.
func (d *Driver) describe(ctx context.Context, img *sandbox.Image, program string) (*description, error) {
	inst, err := d.start(ctx, img.Manifest, program)
	if err != nil {
		return nil, err
	}
	said, err := inst.describe(ctx)
	return said, errors.Join(err, inst.Close())
}

// Load returns the code of a prepared version. It copies the artifact again if somebody cleared the driver's folder.
func (d *Driver) Load(_ context.Context, img *sandbox.Image) (sandbox.Code, error) {
	program := d.program(img.Manifest.Artifact)
	if _, err := os.Stat(program); err != nil {
		if program, err = d.keep(img.Artifact, img.Manifest.Artifact); err != nil {
			return nil, fmt.Errorf("function %s: %w", img.Manifest.Name, err)
		}
	}
	return &code{driver: d, manifest: img.Manifest, artifact: img.Artifact, program: program}, nil
}

// code is a plugin that can be started.
type code struct {
	driver   *Driver
	manifest *functions.Manifest
	artifact string // the store's file
	program  string // the executable copy of it
}

// New starts a process. If that fails because somebody changed the executable copy, it is made anew, once.
func (c *code) New(ctx context.Context) (sandbox.Instance, error) {
	inst, err := c.driver.start(ctx, c.manifest, c.program)
	if err != nil && ctx.Err() == nil {
		renewed, rerr := c.driver.renew(c.manifest, c.artifact)
		if rerr != nil {
			return nil, rerr
		}
		if renewed {
			inst, err = c.driver.start(ctx, c.manifest, c.program)
		}
	}
	if err != nil {
		return nil, err // not a nil *instance in an interface
	}
	return inst, nil
}

// MemBytes is 0: nothing of a plugin is in memory while no process runs.
func (c *code) MemBytes() int64 { return 0 }

// Close does nothing: the copy on disk stays for the next Load.
func (c *code) Close() error { return nil }
