package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the doors. A door is one of a fixed few; a code is Connect's.
type metrics struct {
	requests *prometheus.CounterVec   // door, code
	seconds  *prometheus.HistogramVec // door
	runs     prometheus.Gauge
	streams  *prometheus.GaugeVec // door
	// freed is how long what a cancelled run held stayed held.
	freed       prometheus.Histogram
	interrupted prometheus.Counter
	uploaded    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, held func() float64) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "catenary_gateway_requests_total", Help: "Requests answered, by door and code (ok, or Connect's).",
		}, []string{"door", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "catenary_gateway_run_seconds", Help: "How long runs took.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}, []string{"door"}),
		runs: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "catenary_gateway_runs", Help: "Runs going on now.",
		}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "catenary_gateway_streams", Help: "Runs going on now whose callers get items as they come, by door.",
		}, []string{"door"}),
		freed: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "catenary_cancel_to_free_seconds", Help: "From the end of a run's context (its caller gone, its deadline, a drain) until all that it held was free.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		interrupted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "catenary_gateway_turns_interrupted_total", Help: "Turns that were interrupted, by callers or by the step that opens turns.",
		}),
		uploaded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "catenary_gateway_blob_uploaded_bytes_total", Help: "Bytes of blobs taken.",
		}),
	}
	reg.MustRegister(m.requests, m.seconds, m.runs, m.streams, m.freed, m.interrupted, m.uploaded, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "catenary_gateway_result_bytes", Help: "Bytes of results that are held for GET /blobs.",
	}, held))
	return m
}

// answered counts one request.
func (m *metrics) answered(door string, err error) {
	code := "ok"
	if err != nil {
		code = Code(err).String()
	}
	m.requests.WithLabelValues(door, code).Inc()
}

// stream counts a stream that is open until the returned func is called.
func (m *metrics) stream(door string) func() {
	m.streams.WithLabelValues(door).Inc()
	return m.streams.WithLabelValues(door).Dec
}

func (m *metrics) ran(door string, d time.Duration) {
	m.seconds.WithLabelValues(door).Observe(d.Seconds())
}
