package gpu

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catenary-run/catenary/functions"
)

// Why a queue refuses a call.
const (
	refusedFull    = "full"    // there is no room
	refusedYielded = "yielded" // it gave way to another call
	refusedLate    = "late"    // it can't finish before its deadline
)

// waitBuckets reach from a slot that is free (0.1 ms) to a wait behind long answers (100 s).
var waitBuckets = prometheus.ExponentialBuckets(0.0001, 2, 21)

// metrics are the figures of this package. Models are those that are deployed; callers are too many for labels.
type metrics struct {
	waits    *prometheus.HistogramVec
	refusals *prometheus.CounterVec
	device   *prometheus.CounterVec
	batches  *prometheus.HistogramVec
}

// newMetrics registers with reg unless it is nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "catenary_gpu_wait_seconds", Help: "Time from a call to its slot of the model, a wake included, by model and priority.", Buckets: waitBuckets,
		}, []string{"model", "priority"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "catenary_gpu_refused_total", Help: "Calls that a model's queue refused, by model and reason (full, yielded, late).",
		}, []string{"model", "reason"}),
		device: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "catenary_gpu_device_seconds_total", Help: "Time that the device was at work on answers, by model.",
		}, []string{"model"}),
		batches: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "catenary_gpu_batch_size", Help: "How many generations a token was decoded together with, itself among them, by model.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 7), // to maxSlots
		}, []string{"model"}),
	}
	if reg != nil {
		reg.MustRegister(m.waits, m.refusals, m.device, m.batches)
	}
	return m
}

func (m *metrics) waited(model string, p functions.Priority, d time.Duration) {
	m.waits.WithLabelValues(model, cmp.Or(string(p), "normal")).Observe(d.Seconds())
}

func (m *metrics) refused(model, reason string) { m.refusals.WithLabelValues(model, reason).Inc() }

func (m *metrics) decoded(model string, batch int32) {
	if batch > 0 { // an engine that does not say so knows nothing of others
		m.batches.WithLabelValues(model).Observe(float64(batch))
	}
}

func (m *metrics) worked(model string, d time.Duration) {
	m.device.WithLabelValues(model).Add(d.Seconds())
}
