package openaitest

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// Main is the process of a server: its arguments are flags. It ends on SIGTERM, and returns its exit code.
func Main(args []string) int {
	flags := flag.NewFlagSet("openaitest", flag.ExitOnError)
	s := &Server{crash: func() {
		fmt.Fprintln(os.Stderr, "CUDA error: an illegal memory access was encountered")
		os.Exit(3)
	}}
	addr := flags.String("addr", "127.0.0.1:0", "where to listen")
	keyEnv := flags.String("key-env", "", "variable with the key, which is printed: some do")
	flags.IntVar(&s.Words, "words", 3, "of an answer")
	flags.DurationVar(&s.TokenTime, "token-time", 0, "before each word")
	flags.DurationVar(&s.LoadTime, "load-time", 0, "until it is ready")
	flags.BoolVar(&s.SleepMode, "sleep-mode", false, "as vLLM has it")
	fails := flags.Bool("fail", false, "end at once")
	deaf := flags.Bool("deaf", false, "ignore SIGTERM")
	parent := flags.Bool("parent", false, "start a process, and leave it behind")
	_ = flags.Parse(args) // it exits
	if *fails {
		fmt.Fprintln(os.Stderr, "no such model file")
		return 4
	}
	if *keyEnv != "" {
		s.Key = os.Getenv(*keyEnv)
		fmt.Println("started with key", s.Key)
	}
	if *parent {
		if err := exec.Command("sleep", "3600").Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	end := make(chan os.Signal, 1)
	if signal.Notify(end, syscall.SIGTERM); *deaf {
		end = nil
	}
	lis, err := net.Listen("tcp", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(lis, s) }() // it ends with the process
	select {
	case err := <-failed:
		fmt.Fprintln(os.Stderr, err)
		return 1
	case <-end:
		return 0
	}
}
