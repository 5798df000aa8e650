// Package control is how commands on the same machine talk to a running keeper
// or monitor daemon: a Unix socket in its state directory, which only its user
// may enter. A request is one line of JSON; the answer is lines of progress and
// one final line.
package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// SocketName is the name of the socket in the state directory.
const SocketName = "control.sock"

// maxLine bounds one line, against peers that talk something else.
const maxLine = 1 << 20

// Request is what a command asks.
type Request struct {
	// Command is status, stop, reload, monitor, citus, activate, or shards.
	Command string `json:"command"`
	// Mode is how to stop: keeper-only, graceful, fast, or immediate.
	Mode string `json:"mode,omitempty"`
	// URI is the new monitor; empty disables it.
	URI string `json:"uri,omitempty"`
	// Group is whose shards are asked about.
	Group int `json:"group,omitempty"`
}

// Error is a refusal or failure as the daemon told it.
type Error struct {
	Code string `json:"code,omitempty"`
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// ErrNotRunning says that no daemon listens there.
var ErrNotRunning = errors.New("no autoctl daemon runs here")

// ErrEnded says that the daemon ended before its last answer, which is how a
// stop ends.
var ErrEnded = errors.New("the daemon ended")

// line is one line of an answer.
type line struct {
	Progress string          `json:"progress,omitempty"`
	Done     bool            `json:"done,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *Error          `json:"error,omitempty"`
}

// Handler carries out one request. It may call progress with news for people
// until it returns. The result becomes JSON. Its context ends with the
// connection or the server.
type Handler func(ctx context.Context, r Request, progress func(string)) (any, error)

// Serve answers requests on the socket of a state directory until ctx ends. A
// socket that an earlier daemon left is replaced: the caller holds the lock.
func Serve(ctx context.Context, dir string, h Handler) error {
	path, done, err := short(dir)
	if err != nil {
		return err
	}
	defer done()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace control socket: %w", err)
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("listen on control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("restrict control socket: %w", err), l.Close())
	}
	return serve(ctx, l, h)
}

// acceptPause is how long nobody is let in after that failed.
const acceptPause = 100 * time.Millisecond

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// serve answers whoever comes until ctx ends, which closes the listener.
func serve(ctx context.Context, l net.Listener, h Handler) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close() // who came at the last moment is not left waiting
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on control socket: %w", err)
		}
		if err != nil { // such as too many open files: whoever comes later may be answered
			pause(ctx, acceptPause)
			continue
		}
		wg.Go(func() { answer(ctx, c, h) })
	}
}

// answer serves one connection.
func answer(ctx context.Context, c net.Conn, h Handler) {
	defer c.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	in := bufio.NewScanner(c)
	in.Buffer(nil, maxLine)
	if !in.Scan() {
		return
	}
	var mu sync.Mutex
	out := json.NewEncoder(c)
	send := func(l line) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(l) // the other side may have left
	}
	var r Request
	if err := json.Unmarshal(in.Bytes(), &r); err != nil {
		send(line{Done: true, Error: &Error{Code: "protocol", Text: "the request cannot be read: " + err.Error()}})
		return
	}
	go func() { // notices when the other side leaves
		for in.Scan() {
			continue
		}
		cancel()
	}()
	result, err := h(ctx, r, func(text string) { send(line{Progress: text}) })
	send(last(result, err))
}

func last(result any, err error) line {
	l := line{Done: true}
	if err == nil {
		l.Result, err = json.Marshal(result)
	}
	if err != nil {
		told, ok := errors.AsType[*Error](err)
		if !ok {
			told = &Error{Text: err.Error()}
		}
		l.Error = told
	}
	return l
}

// Call sends a request to the daemon of a state directory, hands its progress to
// progress (nil for nobody), and decodes the result into result (nil to ignore
// it). Errors are [ErrNotRunning], [ErrEnded], an [*Error] that the daemon
// told, or ctx's.
func Call(ctx context.Context, dir string, r Request, result any, progress func(string)) error {
	c, err := dial(ctx, dir)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if err := json.NewEncoder(c).Encode(r); err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	in := bufio.NewScanner(c)
	in.Buffer(nil, maxLine)
	for in.Scan() {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return fmt.Errorf("read the daemon's answer: %w", err)
		}
		switch {
		case l.Progress != "" && progress != nil:
			progress(l.Progress)
		case l.Done && l.Error != nil:
			return l.Error
		case l.Done && result != nil:
			if err := json.Unmarshal(l.Result, result); err != nil {
				return fmt.Errorf("read the daemon's answer: %w", err)
			}
			return nil
		case l.Done:
			return nil
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return ErrEnded
}

func dial(ctx context.Context, dir string) (net.Conn, error) {
	path, done, err := short(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the daemon: %w", err)
	}
	return c, nil
}

// short names the socket by way of an open directory: names of sockets may have
// 107 bytes only, and state directories repeat the path of the data directory.
func short(dir string) (path string, done func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, fmt.Errorf("open state directory: %w", err)
	}
	return filepath.Join(fmt.Sprintf("/proc/self/fd/%d", d.Fd()), SocketName), func() { _ = d.Close() }, nil
}
