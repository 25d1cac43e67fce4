package gpu

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/internal/testkit"
)

// serverMain runs a Runtime until it is killed. Its arguments are the Runtime's folder, that of libllama, and a model's
// file; it prints the worker's pid once the model is awake.
func serverMain(args []string) int {
	exe, err := os.Executable()
	if err != nil {
		return 1
	}
	models := catalogue{}
	llm := models.add("llm", args[2])
	var cmd *exec.Cmd
	r := New(Config{
		Command: func() *exec.Cmd {
			cmd = exec.Command(exe, "worker")
			return cmd
		},
		Dir:      args[0],
		LlamaLib: args[1],
		Models:   models,
	})
	ctx := context.Background()
	go func() { _ = r.Run(ctx) }()
	if err := r.Wake(ctx, llm); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(cmd.Process.Pid)
	select {}
}

func TestReal_KillOfTheServerLeavesNothing(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("this system has no /proc to see a process in")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	server := exec.Command(exe, "server", dir, testkit.LlamaLib(t), tinyFile(t))
	server.Stderr = t.Output()
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if killErr := server.Process.Kill(); err != nil || killErr != nil {
		t.Fatalf("the server did not say its worker: %v, %v", err, killErr)
	}
	_ = server.Wait() // it was killed
	worker := strings.TrimSpace(line)
	testkit.Eventually(t, "the worker ends", func() bool {
		stat, err := os.ReadFile("/proc/" + worker + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ") // gone, or only not reaped by its new parent
	})
	if left, _ := filepath.Glob(filepath.Join(dir, "catenary-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
