package plugin

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
)

// Limits that every plugin process has.
const (
	maxFiles = 1024 // open descriptors
	maxTasks = 512  // processes and threads of its user, where it has one of its own
)

// confinement is what `catenary confine` is told.
type confinement struct {
	artifact string
	digest   functions.Digest
	dir      string // the working folder, where the socket goes
	data     int64  // bytes of private writable memory; 0: no limit
	parent   int    // the process that must still be the parent
	clone    uint   // the flags of clone with which the process is started: those of its namespaces
	// userBase, unless it is 0, makes user and group userBase + process id; with oneUser they are userBase itself.
	userBase uint
	oneUser  bool
	args     []string // of the plugin
}

// argv returns c as the arguments of the subcommand.
func (c confinement) argv() []string {
	return append([]string{
		"-artifact", c.artifact, "-digest", string(c.digest), "-dir", c.dir,
		"-data", strconv.FormatInt(c.data, 10), "-parent", strconv.Itoa(c.parent),
		"-clone", strconv.FormatUint(uint64(c.clone), 10),
		"-user-base", strconv.FormatUint(uint64(c.userBase), 10), "-one-user=" + strconv.FormatBool(c.oneUser), "--",
	}, c.args...)
}

// parseConfinement is the inverse of argv. Its error wraps functions.ErrInvalid.
func parseConfinement(args []string) (confinement, error) {
	var c confinement
	var digest string
	set := flag.NewFlagSet("confine", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&c.artifact, "artifact", "", "")
	set.StringVar(&digest, "digest", "", "")
	set.StringVar(&c.dir, "dir", "", "")
	set.Int64Var(&c.data, "data", 0, "")
	set.IntVar(&c.parent, "parent", 0, "")
	set.UintVar(&c.clone, "clone", 0, "")
	set.UintVar(&c.userBase, "user-base", 0, "")
	set.BoolVar(&c.oneUser, "one-user", false, "")
	if err := set.Parse(args); err != nil {
		return c, fmt.Errorf("%w: confine: %w", functions.ErrInvalid, err)
	}
	var err error
	if c.digest, err = functions.ParseDigest(digest); err != nil {
		return c, fmt.Errorf("confine: %w", err)
	}
	if c.artifact == "" || c.dir == "" || c.data < 0 || c.parent <= 0 || c.userBase > maxUserBase {
		return c, fmt.Errorf("%w: confine: it is called by the server only, with an artifact, a folder, a limit and its own process id", functions.ErrInvalid)
	}
	c.args = set.Args()
	return c, nil
}

// environment returns the variables of env that a plugin gets: go-plugin's own and ours.
func environment(env []string) []string {
	var kept []string
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "PLUGIN_") || slices.Contains([]string{pluginv1.CookieKey, pluginv1.MemEnv, tempEnv}, name) {
			kept = append(kept, v)
		}
	}
	return kept
}
