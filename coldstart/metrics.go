package coldstart

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catenary-run/catenary/functions"
)

// startBuckets reach from a copy of an image (0.1 ms) to a large plugin that starts from nothing (100 s).
var startBuckets = prometheus.ExponentialBuckets(0.0001, 2, 21)

// metrics are the figures of this package. Their labels take few values: kinds, results, reasons.
type metrics struct {
	starts  *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	stops   *prometheus.CounterVec
}

// newMetrics registers with reg unless it is nil.
func newMetrics(reg prometheus.Registerer, p *Pools) (*metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "catenary", Subsystem: "coldstart", Name: name, Help: help}
	}
	gauge := func(name, help string, value func(*pool) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts(name, help)), func() float64 { return float64(p.sum(value)) })
	}
	m := &metrics{
		starts: prometheus.NewCounterVec(prometheus.CounterOpts(opts("starts_total", "Starts of instances.")), []string{"kind", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "catenary", Subsystem: "coldstart", Name: "start_seconds",
			Help: "Time until an instance was ready, the load of its code included.", Buckets: startBuckets,
		}, []string{"kind"}),
		stops: prometheus.NewCounterVec(prometheus.CounterOpts(opts("stops_total", "Instances that were closed.")), []string{"kind", "reason"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.starts, m.seconds, m.stops,
		gauge("queue_depth", "Calls that wait for an instance.", func(pl *pool) int { return len(pl.calls) }),
		gauge("instances", "Instances that are there.", (*pool).running),
		gauge("instances_busy", "Instances that serve a call.", func(pl *pool) int { return len(pl.busy) }),
		gauge("mem_bytes", "Memory that code and instances hold.", memBytes),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("coldstart: %w", err)
		}
	}
	return m, nil
}

func memBytes(pl *pool) int { return int(pl.memBytes()) }

// sum adds up value over all pools.
func (p *Pools) sum(value func(*pool) int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, pl := range p.pools {
		n += value(pl)
	}
	return n
}

func (m *metrics) started(kind functions.Kind, took time.Duration, ok bool) {
	if !ok {
		m.starts.WithLabelValues(string(kind), "failed").Inc()
		return
	}
	m.starts.WithLabelValues(string(kind), "ok").Inc()
	m.seconds.WithLabelValues(string(kind)).Observe(took.Seconds())
}

func (m *metrics) stopped(kind functions.Kind, reason string) {
	m.stops.WithLabelValues(string(kind), reason).Inc()
}
