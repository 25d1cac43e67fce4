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
	uploaded prometheus.Counter
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
		uploaded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "catenary_gateway_blob_uploaded_bytes_total", Help: "Bytes of blobs taken.",
		}),
	}
	reg.MustRegister(m.requests, m.seconds, m.runs, m.uploaded, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
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

func (m *metrics) ran(door string, d time.Duration) {
	m.seconds.WithLabelValues(door).Observe(d.Seconds())
}
