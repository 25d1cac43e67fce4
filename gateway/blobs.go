package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// stallLimit is how long a blob's transfer may stand still.
const stallLimit = time.Minute

// putBlob stores a blob: PUT /blobs/HEX. The same again is answered as the first time.
func (s *Server) putBlob(w http.ResponseWriter, r *http.Request) {
	status, err := s.storeBlob(w, r)
	s.metrics.answered("blob", err)
	if err != nil {
		s.failStatus(w, r, status, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) storeBlob(w http.ResponseWriter, r *http.Request) (status int, err error) {
	if s.draining.Load() {
		return 0, errDraining
	}
	want, err := functions.ParseDigest(r.PathValue("hex"))
	if err != nil {
		return 0, err
	}
	tooLarge := fmt.Errorf("%w: blob %s is larger than %d bytes, the most that this server takes", functions.ErrMemoryLimit, want.Short(), s.cfg.MaxBlob)
	if r.ContentLength > s.cfg.MaxBlob {
		return http.StatusRequestEntityTooLarge, tooLarge
	}
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	default:
		return 0, fmt.Errorf("%w: %d blobs are being taken, the most at once; try again later", functions.ErrQueueFull, s.cfg.MaxUploads)
	}
	rc := http.NewResponseController(w)
	body := &movingReader{r: http.MaxBytesReader(w, r.Body, s.cfg.MaxBlob), moved: func() { _ = rc.SetReadDeadline(time.Now().Add(stallLimit)) }}
	n, err := s.deps.Blobs.Put(r.Context(), want, body)
	_ = rc.SetReadDeadline(time.Time{})
	s.metrics.uploaded.Add(float64(body.n))
	if _, is := errors.AsType[*http.MaxBytesError](body.err); is {
		return http.StatusRequestEntityTooLarge, tooLarge
	}
	if body.err != nil {
		return 0, fmt.Errorf("%w: blob %s: the body broke off after %d bytes: %w", functions.ErrInvalid, want.Short(), body.n, body.err)
	}
	if err != nil {
		return 0, fmt.Errorf("store blob %s: %w", want.Short(), err)
	}
	s.log.Debug("blob stored", "blob", want, "bytes", n)
	return 0, nil
}

// movingReader calls moved before each read, and keeps the count and the first error but io.EOF.
type movingReader struct {
	r     io.Reader
	moved func()
	n     int64
	err   error
}

func (m *movingReader) Read(p []byte) (int, error) {
	m.moved()
	n, err := m.r.Read(p)
	m.n += int64(n)
	if err != nil && err != io.EOF && m.err == nil {
		m.err = err
	}
	return n, err
}

// getBlob returns a blob of a recent result or a stored one: GET /blobs/HEX.
func (s *Server) getBlob(w http.ResponseWriter, r *http.Request) {
	err := s.sendBlob(w, r)
	s.metrics.answered("blob", err)
	if err != nil {
		s.fail(w, r, err)
	}
}

func (s *Server) sendBlob(w http.ResponseWriter, r *http.Request) error {
	d, err := functions.ParseDigest(r.PathValue("hex"))
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", `"`+d.Hex()+`"`)
	h.Set("Cache-Control", "private, immutable, max-age=31536000")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox") // whatever it is, it is no page
	rc := http.NewResponseController(w)
	moving := &movingWriter{ResponseWriter: w, moved: func() { _ = rc.SetWriteDeadline(time.Now().Add(stallLimit)) }}
	if a, ok := s.results.get(d, time.Now()); ok {
		setType(w, safeType(a.Type))
		http.ServeContent(moving, r, "", time.Time{}, bytes.NewReader(a.Data))
		return nil
	}
	body, size, err := s.deps.Blobs.Open(r.Context(), d)
	if err != nil {
		for _, name := range []string{"ETag", "Cache-Control", "Content-Security-Policy"} {
			h.Del(name)
		}
		return fmt.Errorf("blob %s: %w", d.Short(), err)
	}
	defer body.Close()
	setType(w, "application/octet-stream")
	if seeker, ok := body.(io.ReadSeeker); ok {
		http.ServeContent(moving, r, "", time.Time{}, seeker)
		return nil
	}
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(moving, body); err != nil {
		s.log.Info("blob cut off", "blob", d, "err", err)
		panic(http.ErrAbortHandler) // part of it is out
	}
	return nil
}

// movingWriter calls moved before each write.
type movingWriter struct {
	http.ResponseWriter
	moved func()
}

func (m *movingWriter) Write(p []byte) (int, error) {
	m.moved()
	return m.ResponseWriter.Write(p)
}

// safeType returns t if it is a media type, and that of plain bytes otherwise: a function chose it.
func safeType(t string) string {
	if _, _, err := mime.ParseMediaType(t); err != nil {
		return "application/octet-stream"
	}
	return t
}
