package store_test

import (
	"context"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/catenary-run/catenary/internal/testkit"
)

// server is a redis-server of this test alone, and a client that looks behind the store's back.
type server struct {
	*testkit.Redis
	port   int
	client *goredis.Client
}

func startRedis(t *testing.T, port int, args ...string) *server {
	t.Helper()
	s := &server{Redis: testkit.StartRedis(t, port, args...), port: port}
	s.client = goredis.NewClient(&goredis.Options{Addr: s.Addr})
	t.Cleanup(func() { s.client.Close() })
	return s
}

func (s *server) flush(t *testing.T) {
	t.Helper()
	if err := s.client.FlushAll(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
}
