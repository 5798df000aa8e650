package monitorapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Options tune a [Client]. The zero value is good for keepers and commands.
type Options struct {
	// ConnectTimeout bounds one attempt to connect; 0 for 3 s.
	ConnectTimeout time.Duration
	// CallTimeout bounds one call, connecting included; 0 for 10 s. A shorter deadline of the call's context wins.
	CallTimeout time.Duration
	// Software is the caller's version, told to the monitor.
	Software string
}

// Client talks to one monitor. It is safe for concurrent use; calls share one connection and queue for it, streams and
// commands have their own.
type Client struct {
	config *pgx.ConnConfig
	opts   Options
	where  string

	turn    chan struct{} // holds the right to use conn and dialing; a channel, so that waiting for it obeys contexts
	conn    *pgx.Conn
	dialing chan dialled // of an attempt to connect that is under way; nil for none
	mu      sync.Mutex   // guards closed
	closed  bool
}

// dialled is what became of an attempt to connect.
type dialled struct {
	conn *pgx.Conn
	took time.Duration
	err  error
}

// Dial parses the URI, connects, and checks that a monitor of our protocol answers. A monitor that is away is an error of
// [CodeUnreachable]; [New] does without the check.
func Dial(ctx context.Context, uri string, opts Options) (*Client, error) {
	c, err := New(uri, opts)
	if err != nil {
		return nil, err
	}
	if _, err := c.Hello(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// New returns a client that connects at its first call: for keepers, which start while the monitor may be away.
func New(uri string, opts Options) (*Client, error) {
	config, err := pgx.ParseConfig(uri)
	if err != nil {
		// pgx redacts passwords in its message, but not every spelling of them: name none of it.
		return nil, &Error{Code: CodeInvalid, Text: "the monitor's URI cannot be parsed",
			Hint: "it looks like postgres://autoctl_node@host:port/autoctl?sslmode=require"}
	}
	if opts.ConnectTimeout <= 0 {
		opts.ConnectTimeout = 3 * time.Second
	}
	if opts.CallTimeout <= 0 {
		opts.CallTimeout = 10 * time.Second
	}
	config.ConnectTimeout = opts.ConnectTimeout
	config.DialFunc = dialer(opts.ConnectTimeout).DialContext
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "autoctl"
	}
	c := &Client{config: config, opts: opts, turn: make(chan struct{}, 1)}
	c.where = net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
	c.turn <- struct{}{}
	return c, nil
}

// Where returns the monitor's host:port, for messages.
func (c *Client) Where() string { return c.where }

// Close ends the connection of the client's calls. Streams end with their contexts.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	<-c.turn
	c.drop(context.Background())
	if late := c.dialing; late != nil {
		c.dialing = nil
		go func() {
			if d := <-late; d.conn != nil {
				hangUp(context.Background(), d.conn)
			}
		}()
	}
	c.turn <- struct{}{}
}

// Hello asks the monitor who it is.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	var h Hello
	return h, c.call(ctx, &h, "hello", c.opts.Software)
}

// call runs autoctl.name(Protocol, args…) on the shared connection and decodes its JSON into result, unless that is nil.
// It tries a second time when a kept connection turns out to be dead, and when the database asks for a retry: the functions
// that are called through here may be repeated.
func (c *Client) call(ctx context.Context, result any, name string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
	defer cancel()
	select {
	case <-c.turn:
		defer func() { c.turn <- struct{}{} }()
	case <-ctx.Done():
		return classify(ctx.Err(), c.where)
	}
	for attempt := 0; ; attempt++ {
		used := c.conn != nil
		raw, err := c.once(ctx, name, args)
		if err == nil {
			return decode(raw, result, name)
		}
		again := used && lost(err) && attempt < 1 || mayRetry(err) && attempt < 5
		if !again || ctx.Err() != nil {
			return classify(err, c.where)
		}
	}
}

func (c *Client) once(ctx context.Context, name string, args []any) ([]byte, error) {
	if err := c.ensure(ctx); err != nil {
		return nil, err
	}
	raw, err := query(ctx, c.conn, name, args)
	if err != nil && (lost(err) || c.conn.IsClosed()) {
		c.drop(ctx)
	}
	return raw, err
}

func (c *Client) ensure(ctx context.Context) error {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return &Error{Code: CodeUnreachable, Text: "the connection to the monitor was closed"}
	}
	if c.conn != nil && !c.conn.IsClosed() {
		return nil
	}
	if c.dialing == nil {
		c.dialing = c.dial(ctx)
	}
	select {
	case d := <-c.dialing:
		c.dialing, c.conn = nil, d.conn
		// The first use of a connection takes about as long as making it. A call that is cut short would take the connection with it.
		if end, ok := ctx.Deadline(); d.err == nil && ok && time.Until(end) < 2*d.took {
			return &Error{Code: CodeUnreachable, Text: fmt.Sprintf("the monitor at %s was reached after %v, too late for this call", c.where, d.took.Round(time.Millisecond))}
		}
		return d.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dial begins to connect. That goes on when the call that wanted it has no time left: on a slow network a keeper in a hurry would begin again and
// again, and never be heard. The next call finds the connection.
func (c *Client) dial(ctx context.Context) chan dialled {
	done := make(chan dialled, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.CallTimeout)
		defer cancel()
		began := time.Now()
		conn, err := c.connect(ctx)
		done <- dialled{conn, time.Since(began), err}
	}()
	return done
}

func (c *Client) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, c.config.Copy())
	code := CodeOf(classify(err, c.where))
	if err != nil && (code == CodeAuth || code == CodeTLS) && c.stranger(ctx) {
		return nil, &Error{
			Code: CodeNotMonitor, Text: fmt.Sprintf("the server at %s is not a monitor: %s", c.where, reason(err)), Cause: err,
			Hint: uriHint + "; a monitor made with --skip-pg-hba answers so to a missing or wrong password",
		}
	}
	return conn, err
}

// stranger reports whether a server that refused to let us in is no monitor. One asks for passwords like any other server; but it rejects its clients'
// role, in words of their own, from every database except the monitor's.
func (c *Client) stranger(ctx context.Context) bool {
	config := c.config.Copy()
	config.User, config.Database, config.Password = "autoctl_node", "postgres", ""
	conn, err := pgx.ConnectConfig(ctx, config)
	if err == nil {
		hangUp(ctx, conn)
		return true
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == pgerrcode.InvalidCatalogName || strings.HasPrefix(pg.Code, "28") && !strings.Contains(pg.Message, "rejects connection")
	}
	return strings.Contains(reason(err), "password")
}

func (c *Client) drop(ctx context.Context) {
	if c.conn == nil {
		return
	}
	hangUp(ctx, c.conn)
	c.conn = nil
}

// hangUp closes a connection without waiting for a monitor that may be gone.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 200*time.Millisecond)
	defer cancel()
	_ = conn.Close(ctx)
}

// sql returns the text of a call; it is the same each time, so that pgx prepares every function once a connection.
func sql(name string, args int) string {
	var text strings.Builder
	text.WriteString("select autoctl." + name + "($1")
	for i := range args {
		fmt.Fprintf(&text, ", $%d", i+2)
	}
	return text.String() + ")"
}

func query(ctx context.Context, conn *pgx.Conn, name string, args []any) ([]byte, error) {
	var raw []byte
	err := conn.QueryRow(ctx, sql(name, len(args)), append([]any{Protocol}, args...)...).Scan(&raw)
	return raw, err
}

func decode(raw []byte, result any, name string) error {
	if result == nil || raw == nil {
		return nil
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return &Error{Code: CodeProtocol, Text: fmt.Sprintf("the monitor's answer to %s cannot be read: %v", name, err), Cause: err}
	}
	return nil
}

// lost reports whether the connection is gone, or going: the server did not refuse the call, it was not heard to the end.
func lost(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == pgerrcode.AdminShutdown || pg.Code == pgerrcode.CrashShutdown || pg.Code == pgerrcode.CannotConnectNow ||
			pg.Code == pgerrcode.IdleInTransactionSessionTimeout
	}
	var own *Error
	return !errors.As(err, &own)
}

func mayRetry(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == pgerrcode.SerializationFailure || pg.Code == pgerrcode.DeadlockDetected)
}
