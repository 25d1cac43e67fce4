package catenaryv1

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/functions"
)

// This file is written by hand: it turns the messages that cross a border into the vocabulary and back.

// NewItem returns it as a message. The message shares its bytes.
func NewItem(it functions.Item) *Item {
	m := &Item{Cbor: it.Value, Seq: it.Seq, Turn: it.Turn}
	if !it.Time.IsZero() {
		m.TimeUnixNanos = it.Time.UnixNano()
	}
	for _, a := range it.Blobs {
		m.Blobs = append(m.Blobs, &Attachment{Digest: string(a.Digest), Type: a.Type, Data: a.Data})
	}
	return m
}

// Functions returns the message as an item that shares its bytes. It returns an error wrapping functions.ErrInvalid if
// the value is empty or a blob's bytes are not those that its digest names.
func (x *Item) Functions() (functions.Item, error) {
	if len(x.GetCbor()) == 0 {
		return functions.Item{}, fmt.Errorf("%w: an item without a value", functions.ErrInvalid)
	}
	it := functions.Item{Value: x.Cbor, Seq: x.Seq, Turn: x.Turn}
	if x.TimeUnixNanos != 0 {
		it.Time = time.Unix(0, x.TimeUnixNanos)
	}
	for _, a := range x.Blobs {
		att := functions.Attach(a.GetType(), a.GetData())
		if string(att.Digest) != a.GetDigest() {
			return functions.Item{}, fmt.Errorf("%w: the bytes of blob %d have the digest %s, not %q", functions.ErrInvalid, len(it.Blobs), att.Digest.Short(), functions.Digest(a.GetDigest()).Short())
		}
		it.Blobs = append(it.Blobs, att)
	}
	return it, nil
}

// NewFailure returns err as a message, or nil for nil.
func NewFailure(err error) *Failure {
	f := functions.FailureOf(err)
	if f == nil {
		return nil
	}
	return &Failure{Code: string(f.Code), Message: f.Message, Chain: f.Chain, Step: f.Step, Retryable: f.Retryable}
}

// Err returns the failure as an error, or nil for nil. If the failure names a step the error is a
// [functions.StepError] around a [functions.Failure].
func (x *Failure) Err() error {
	if x == nil {
		return nil
	}
	f := &functions.Failure{
		Code: functions.Code(x.Code), Message: x.Message, Chain: x.Chain, Step: x.Step, Retryable: x.Retryable,
	}
	if f.Step == "" {
		return f
	}
	// A StepError names chain and step before the text of what it wraps, as the sender's did.
	step := &functions.StepError{Chain: f.Chain, Step: f.Step, Err: errors.New("")}
	f.Message = strings.TrimPrefix(f.Message, step.Error())
	step.Err = f
	return step
}

// FailureIn returns the failure that a Connect error carries as a detail, or nil.
func FailureIn(err error) *Failure {
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return nil
	}
	for _, d := range ce.Details() {
		if m, err := d.Value(); err == nil {
			if f, ok := m.(*Failure); ok {
				return f
			}
		}
	}
	return nil
}

// NewRef returns r as a message.
func NewRef(r functions.Ref) *Ref { return &Ref{Name: r.Name, Digest: string(r.Digest)} }

// NewRefs returns refs as messages.
func NewRefs(refs []functions.Ref) []*Ref {
	out := make([]*Ref, len(refs))
	for i, r := range refs {
		out[i] = NewRef(r)
	}
	return out
}

// Functions returns the message as a reference. It returns an error wrapping functions.ErrInvalid if its digest is not
// one.
func (x *Ref) Functions() (functions.Ref, error) {
	d, err := functions.ParseDigest(x.GetDigest())
	if err != nil {
		return functions.Ref{}, err
	}
	return functions.Ref{Name: x.GetName(), Digest: d}, nil
}

// Refs returns messages as references.
func Refs(msgs []*Ref) ([]functions.Ref, error) {
	out := make([]functions.Ref, len(msgs))
	for i, m := range msgs {
		r, err := m.Functions()
		if err != nil {
			return nil, err
		}
		out[i] = r
	}
	return out, nil
}

// NewTiming returns t as a message for the named step.
func NewTiming(step string, t functions.Timing) *Timing {
	return &Timing{
		Step: step, WakeNs: int64(t.Wake), QueueNs: int64(t.Queue), FirstItemNs: int64(t.FirstItem),
		TotalNs: int64(t.Total), BytesIn: t.BytesIn, BytesOut: t.BytesOut,
	}
}

// Functions returns the message without its step.
func (x *Timing) Functions() functions.Timing {
	return functions.Timing{
		Wake: time.Duration(x.GetWakeNs()), Queue: time.Duration(x.GetQueueNs()), FirstItem: time.Duration(x.GetFirstItemNs()),
		Total: time.Duration(x.GetTotalNs()), BytesIn: x.GetBytesIn(), BytesOut: x.GetBytesOut(),
	}
}
