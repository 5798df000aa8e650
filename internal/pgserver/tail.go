package pgserver

import (
	"io"
	"sync"
)

// tailWriter keeps the last bytes written to it and passes everything on.
// Standard output and error may write to it concurrently.
type tailWriter struct {
	mu    sync.Mutex
	buf   []byte
	limit int
	next  io.Writer
}

func (w *tailWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p...)
	if extra := len(w.buf) - w.limit; extra > 0 {
		w.buf = append(w.buf[:0], w.buf[extra:]...)
	}
	if w.next != nil {
		if _, err := w.next.Write(p); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (w *tailWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.buf)
}
