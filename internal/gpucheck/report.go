package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/catenary-run/catenary/internal/samples"
)

// report is the file that is written.
type report struct {
	Device  device        `json:"device"`
	Host    host          `json:"host"`
	Rows    []samples.Row `json:"rows"`
	LeftOut []leftOut     `json:"left_out"`
	Goals   []verdict     `json:"goals"`
	Faults  []string      `json:"faults"` // wrong bytes, and calls that failed
}

type device struct {
	Name     string `json:"name"`
	UUID     string `json:"uuid"`
	Bus      string `json:"bus"`
	MemBytes int64  `json:"mem_bytes"`
	Compute  string `json:"compute"` // capability
	CUDA     string `json:"cuda"`    // that the driver speaks
	Driver   string `json:"driver"`  // as its kernel module says; empty if it is not known
	Link     string `json:"link"`    // of the PCI bus, when the checks had ended; empty if it is not known
}

type host struct {
	CPUs      int   `json:"cpus"`
	FreeBytes int64 `json:"free_bytes"` // before anything was done; 0 if it is not known
	HugePages bool  `json:"huge_pages"` // masters were made of them
}

func newReport(l *lab) *report {
	d, v := l.device, l.ctl.Version()
	free, _ := hostFree()
	return &report{
		Device: device{Name: d.Name, UUID: d.UUID, Bus: d.Bus, MemBytes: d.MemBytes, Compute: fmt.Sprintf("%d.%d", d.Major, d.Minor),
			CUDA: fmt.Sprintf("%d.%d", v/1000, v%1000/10), Driver: firstLine("/proc/driver/nvidia/version")},
		Host: host{CPUs: runtime.NumCPU(), FreeBytes: free},
		Rows: []samples.Row{}, LeftOut: []leftOut{}, Faults: []string{},
	}
}

// link returns speed and width of a device's place on the bus, and the most that they can be.
func link(bus string) string {
	at := func(name string) string {
		return firstLine(filepath.Join("/sys/bus/pci/devices", strings.ToLower(bus), name))
	}
	if at("current_link_speed") == "" {
		return ""
	}
	return fmt.Sprintf("%s x%s of %s x%s", at("current_link_speed"), at("current_link_width"), at("max_link_speed"), at("max_link_width"))
}

// firstLine is empty if the file can't be read.
func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line)
}

// hostFree returns how many bytes of the host's memory can be had: what the system has, or what the control group may still
// take if that is less.
func hostFree() (bytes int64, known bool) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	_, after, found := strings.Cut(string(text), "MemAvailable:")
	fields := strings.Fields(after)
	if !found || len(fields) == 0 {
		return 0, false
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0, false
	}
	bytes = kib << 10
	limit, err := strconv.ParseInt(firstLine("/sys/fs/cgroup/memory.max"), 10, 64)
	used, err2 := strconv.ParseInt(firstLine("/sys/fs/cgroup/memory.current"), 10, 64)
	if err == nil && err2 == nil {
		bytes = min(bytes, limit-used)
	}
	return bytes, true
}

// goal is something to be reached: the median of an arm, or how often that of another arm goes into it.
type goal struct {
	what        string
	bench       string
	arm, over   string  // over is empty if the arm itself counts
	least, most float64 // one of them; a most of 0 is none
}

func (g goal) met(got float64) bool {
	if g.most > 0 {
		return got <= g.most
	}
	return got >= g.least
}

func goals() []goal {
	return []goal{
		{"256 MB wake in 15 ms", "wake 256MB", "wake", "", 0, 15},
		{"1 GB wakes at 90 % of a bare copy's rate", "wake 1GB", "copy", "wake", 0.9, 0},
		{"16 GB wake at 90 % of a bare copy's rate", "wake 16GB", "copy", "wake", 0.9, 0},
		{"16 GB wake in 360 ms", "wake 16GB", "wake", "", 0, 360},
		{"1 GB wakes 1.5 times faster than the driver restores a process", "wake 1GB", "restore", "wake", 1.5, 0},
		{"16 GB wake 1.5 times faster than the driver restores a process", "wake 16GB", "restore", "wake", 1.5, 0},
		{"16 GB are parked in 30 ms", "wake 16GB", "park", "", 0, 30},
		{"later wakes take at most 1.1 times what the first took", "cycles", "wake, last quarter", "wake, first quarter", 0, 1.1},
		{"cycles lose no memory (at most 1 MB)", "cycles", "memory lost by the last quarter", "", 0, 1},
	}
}

// verdict is what came of a goal that was measured.
type verdict struct {
	Goal string  `json:"goal"`
	Got  float64 `json:"got"`
	Met  bool    `json:"met"`
}

// judge compares the rows with the goals. What was not measured has no verdict.
func (r *report) judge() {
	r.Goals = []verdict{}
	for _, g := range goals() {
		got, ok := r.median(g.bench, g.arm)
		if g.over != "" {
			under, measured := r.median(g.bench, g.over)
			got, ok = got/under, ok && measured && under > 0
		}
		if ok {
			r.Goals = append(r.Goals, verdict{g.what, got, g.met(got)})
		}
	}
}

func (r *report) median(bench, arm string) (float64, bool) {
	for _, row := range r.Rows {
		if row.Bench == bench && row.Arm == arm {
			return row.Median, true
		}
	}
	return 0, false
}

func (r *report) print(out io.Writer) {
	for _, v := range r.Goals {
		word := "missed"
		if v.Met {
			word = "met"
		}
		fmt.Fprintf(out, "goal %s: %s (%.3g)\n", word, v.Goal, v.Got)
	}
	for _, f := range r.Faults {
		fmt.Fprintln(out, "FAULT:", f)
	}
}
