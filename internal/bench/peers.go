package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"

	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// peerArg marks a process that is one of the peers' services: it is the bench itself, started anew.
const peerArg = "echo-service-in-a-new-process"

// peer is an orchestrator before its services.
type peer struct {
	name string
	call hopLine
}

// startPeers starts three services, each in a process of its own, and returns those who call them one after the other:
// by net/http, and by Connect.
func startPeers(ctx context.Context) (peers []peer, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	var urls []string
	var kill []func()
	stop = func() {
		for _, k := range kill {
			k()
		}
	}
	for range services {
		cmd := exec.CommandContext(ctx, self, peerArg)
		in, err := cmd.StdinPipe() // the service ends with it
		if err != nil {
			return nil, stop, err
		}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			return nil, stop, err
		}
		kill = append(kill, func() { in.Close(); cmd.Wait() })
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			return nil, stop, fmt.Errorf("a service said %q: %w", line, err)
		}
		urls = append(urls, "http://"+line[:len(line)-1])
	}
	plain := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	clients := make([]catenaryv1.ChainServiceClient, len(urls))
	for i, u := range urls {
		clients[i] = catenaryv1.NewChainServiceClient(plain, u)
	}
	return []peer{
		{"net/http, three services", func(ctx context.Context, data []byte) ([]byte, error) {
			for _, u := range urls {
				var err error
				if data, err = post(ctx, plain, u+"/echo", data); err != nil {
					return nil, err
				}
			}
			return data, nil
		}},
		{"Connect, three services", func(ctx context.Context, data []byte) ([]byte, error) {
			for _, c := range clients {
				resp, err := c.Run(ctx, &catenaryv1.RunRequest{Json: data})
				if err != nil {
					return nil, err
				}
				data = resp.Json
			}
			return data, nil
		}},
	}, stop, nil
}

func post(ctx context.Context, c *http.Client, url string, data []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body) // to its end, so that the connection is used again
}

// echoService is one service: it sends back what it gets, until its standard input ends.
func echoService() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = w.Write(data) // who is gone need not be told
	})
	path, h := catenaryv1.NewChainServiceHandler(echoChain{})
	mux.Handle(path, h)
	fmt.Println(l.Addr())
	s := &http.Server{Handler: mux}
	go s.Serve(l) // ends with the process
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// echoChain answers Run with its own input.
type echoChain struct {
	catenaryv1.UnimplementedChainServiceHandler
}

func (echoChain) Run(_ context.Context, req *catenaryv1.RunRequest) (*catenaryv1.RunResponse, error) {
	return &catenaryv1.RunResponse{Json: req.Json}, nil
}
