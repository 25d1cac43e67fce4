package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/gpu/cuda/cudatest"
	"github.com/catenary-run/catenary/internal/testkit"
)

// forgets has the process to compare with answer that it has lost some words.
const forgets = "GPUCHECK_FORGETS"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == holdArg {
		if os.Getenv(forgets) != "" {
			fmt.Println("ready\n3")
			_, _ = os.Stdin.Read(make([]byte, 1))
			_, _ = os.Stdin.Read(make([]byte, 1)) // until it is killed
			os.Exit(0)
		}
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// checked runs all checks, scaled down, on the fake.
func checked(t *testing.T, fake *cudatest.Fake, args ...string) (code int, r report, talk string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "out.json")
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"-driver", fake.Dir, "-json", file, "-sizes", "2MiB,5MB,8MiB", "-repeats", "3", "-cycles", "8"}, args...), nil, &out, &errs)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("exit %d, no file: %v\n%s", code, err, errs.String())
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return code, r, out.String() + errs.String()
}

// wantRows are all rows of those sizes, as bench, arm and n.
func wantRows(sizes ...string) []string {
	var want []string
	for _, s := range sizes {
		for _, arm := range []string{"checkpoint", "wake", "copy", "park", "restore"} {
			want = append(want, "wake "+s+": "+arm+" 3")
		}
	}
	for _, where := range []string{"alone", "beside a wake", "beside a park"} {
		want = append(want, "stall: median step "+where+" 3", "stall: longest step "+where+" 3")
	}
	return append(want, "graph: replay before a park 3", "graph: replay after a wake 3",
		"cycles: wake, first quarter 2", "cycles: wake, last quarter 2", "cycles: memory lost by the last quarter 2")
}

func rowsOf(r report) []string {
	var got []string
	for _, row := range r.Rows {
		got = append(got, fmt.Sprintf("%s: %s %d", row.Bench, row.Arm, row.N))
	}
	return got
}

func TestEveryCheckRuns(t *testing.T) {
	fake := cudatest.Load(t)
	before := fake.Used()
	code, r, talk := checked(t, fake)
	if code != 0 || len(r.Faults) > 0 || len(r.LeftOut) > 0 {
		t.Errorf("exit %d, faults %q, left out %v\n%s", code, r.Faults, r.LeftOut, talk)
	}
	if diff := cmp.Diff(wantRows("2MiB", "5MB", "8MiB"), rowsOf(r)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if r.Device.Name != "Fake device" || r.Device.MemBytes != 80<<30 || r.Device.CUDA != "13.0" || r.Device.Compute != "9.0" {
		t.Errorf("device %+v", r.Device)
	}
	if got := fake.Used(); got != before || fake.Counted("bad_pointers") > 0 {
		t.Errorf("%d bytes are left, %d bad pointers", got-before, fake.Counted("bad_pointers"))
	}
	if i := slices.IndexFunc(r.Goals, func(v verdict) bool { return strings.Contains(v.Goal, "lose no memory") }); i < 0 || !r.Goals[i].Met {
		t.Errorf("goals %+v", r.Goals)
	}
}

// TestWrongBytes: one bit that changes in any copy is found, and named, and the figures beside it are not given.
func TestWrongBytes(t *testing.T) {
	fake := cudatest.Load(t)
	for after, want := range []string{"loaded", "woken", "copied"} {
		fake.Corrupt(int32(after))
		code, r, talk := checked(t, fake)
		if code != exitFailed || len(r.Faults) != 1 || !strings.Contains(r.Faults[0], "wake 2MiB: wrong bytes: "+want+": 1 words") || !strings.Contains(talk, want) {
			t.Errorf("copy %d: exit %d, faults %q, want %q", after, code, r.Faults, want)
		}
		if diff := cmp.Diff(wantRows("5MB", "8MiB"), rowsOf(r)); diff != "" {
			t.Errorf("copy %d: rows (-want +got):\n%s", after, diff)
		}
	}
}

func TestWrongBytesOfARestore(t *testing.T) {
	fake := cudatest.Load(t)
	t.Setenv(forgets, "yes")
	code, r, _ := checked(t, fake, "-sizes", "2MiB")
	if code != exitFailed || len(r.Faults) != 1 || !strings.Contains(r.Faults[0], "restored: 3 words") {
		t.Errorf("exit %d, faults %q", code, r.Faults)
	}
}

func TestSizesWithoutRoomAreLeftOut(t *testing.T) {
	fake := cudatest.Load(t)
	fake.SetMemory(fake.Used() + 9<<20)
	defer fake.SetMemory(80 << 30)
	code, r, talk := checked(t, fake, "-sizes", "2MiB,4MiB,64MiB")
	if code != 0 || len(r.LeftOut) != 1 || r.LeftOut[0].Bench != "wake 64MiB" || !strings.Contains(r.LeftOut[0].Reason, "no room for a model of 64MiB: cuMemCreate") {
		t.Errorf("exit %d, left out %+v\n%s", code, r.LeftOut, talk)
	}
	if diff := cmp.Diff(wantRows("2MiB", "4MiB"), rowsOf(r)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if err := hostRoom(1 << 60); err == nil || !strings.Contains(err.Error(), "on the host") {
		t.Errorf("more than any host has: %v", err)
	}
}

// TestRestoreThatFails: the driver's own way is only compared with, and its failure is no fault of ours.
func TestRestoreThatFails(t *testing.T) {
	fake := cudatest.Load(t)
	fake.Fail("cuCheckpointProcessRestore", 3, 999)
	code, r, _ := checked(t, fake, "-sizes", "2MiB")
	if code != 0 || len(r.LeftOut) != 2 || r.LeftOut[1].Arm != "restore" || !strings.Contains(r.LeftOut[1].Reason, "cuCheckpointProcessRestore") {
		t.Errorf("exit %d, left out %+v", code, r.LeftOut)
	}
	if len(r.Rows) != len(wantRows("2MiB"))-2 {
		t.Errorf("rows %q", rowsOf(r))
	}
}

// TestCallThatFails: after an error of CUDA nothing more is tried, and the file says so.
func TestCallThatFails(t *testing.T) {
	fake := cudatest.Load(t)
	fake.Fail("cuGraphInstantiate", 0, 999)
	code, r, _ := checked(t, fake)
	if code != exitFailed || len(r.Faults) != 1 || !strings.Contains(r.Faults[0], "graph: cuGraphInstantiate") {
		t.Errorf("exit %d, faults %q", code, r.Faults)
	}
	if len(r.LeftOut) != 1 || r.LeftOut[0].Bench != "cycles" || !strings.Contains(r.LeftOut[0].Reason, "the device failed before") {
		t.Errorf("left out %+v", r.LeftOut)
	}
}

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"-sizes", "2"}, {"-sizes", "2MB,1MB"}, {"-sizes", "0MB"}, {"-repeats", "0"}, {"more"}, {"-none"}} {
		var errs bytes.Buffer
		if code := run(t.Context(), args, nil, &errs, &errs); code != exitUsage || errs.Len() == 0 {
			t.Errorf("%v: exit %d, %q", args, code, errs.String())
		}
	}
}

// TestBinary: the file that is copied is small, needs no C compiler, says plainly where there is no device, and runs.
func TestBinary(t *testing.T) {
	fake := cudatest.Load(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "gpu-check")
	testkit.GoBuild(t, "internal/gpucheck", path, []string{"CGO_ENABLED=0"}, "-ldflags=-s -w")
	info, err := os.Stat(path)
	if err != nil || info.Size() > 10e6 {
		t.Errorf("%v bytes, %v; want at most 10 MB", info.Size(), err)
	}
	start := func(args ...string) (int, string) {
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	code, out := start("-driver", dir)
	if code != exitNoDevice || !strings.Contains(out, "no device") || !strings.Contains(out, "Copy the folder "+dir+" to a machine") {
		t.Errorf("no driver: exit %d, %s", code, out)
	}
	code, out = start("-driver", fake.Dir, "-sizes", "2MiB", "-repeats", "1", "-cycles", "1")
	if code != 0 || !strings.Contains(out, "restore") {
		t.Errorf("on the fake: exit %d, %s", code, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "gpu-check.json")); err != nil {
		t.Error(err)
	}
}

// TestKernelsAreFresh: the PTX is what Debian's clang makes of the source. Others write the same in other words.
func TestKernelsAreFresh(t *testing.T) {
	version, err := exec.Command("clang", "--version").Output()
	if err != nil || !strings.Contains(string(version), "Debian clang version 14.") {
		t.Skip("no clang 14 of Debian here")
	}
	got, err := exec.Command("clang", "--target=nvptx64-nvidia-cuda", "-march=sm_52", "-O2", "-S", "-o", "-", "kernels.cl").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, kernels) {
		t.Error("kernels.ptx is stale: run the line at the top of kernels.cl")
	}
	if !strings.Contains(string(kernels), ".version 4.1\n.target sm_52") {
		t.Error("the kernels ask for more than the oldest device has")
	}
}
