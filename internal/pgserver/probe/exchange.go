package probe

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"
)

func probe(ctx context.Context, t Target) Result {
	network, address := "tcp", net.JoinHostPort(t.Host, strconv.Itoa(t.Port))
	if strings.HasPrefix(t.Host, "/") {
		network, address = "unix", filepath.Join(t.Host, fmt.Sprintf(".s.PGSQL.%d", t.Port))
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return unanswered(ctx, err, false)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // fails only on a closed connection
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return ask(ctx, conn, t)
}

// ask goes through the handshake as far as the server's first answer.
func ask(ctx context.Context, conn net.Conn, t Target) Result {
	if t.TLS != nil && conn.RemoteAddr().Network() != "unix" {
		secured, err := startTLS(ctx, conn, t.TLS)
		if err != nil {
			return unanswered(ctx, err, true)
		}
		conn = secured
	}
	startup := &pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters: map[string]string{
			"user": or(t.User, "postgres"), "database": or(t.Database, "postgres"), "application_name": "autoctl probe",
		},
	}
	packet, err := startup.Encode(nil)
	if err != nil {
		return Result{Status: NotPostgreSQL, Message: err.Error(), Err: err}
	}
	if _, err := conn.Write(packet); err != nil {
		return unanswered(ctx, err, true)
	}
	kind, body, err := readMessage(conn)
	if err != nil {
		return unanswered(ctx, err, true)
	}
	return answer(conn, kind, body)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// errForeign marks answers that PostgreSQL does not give.
var errForeign = errors.New("the answer is not PostgreSQL's")

// startTLS asks for TLS and goes on in the clear where the server has none.
func startTLS(ctx context.Context, conn net.Conn, config *tls.Config) (net.Conn, error) {
	packet, err := (&pgproto3.SSLRequest{}).Encode(nil)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	var reply [1]byte
	if _, err := io.ReadFull(conn, reply[:]); err != nil {
		return nil, err
	}
	switch reply[0] {
	case 'S':
		secured := tls.Client(conn, config)
		return secured, secured.HandshakeContext(ctx)
	case 'N':
		return conn, nil
	default:
		return nil, errForeign
	}
}

// maxMessage bounds what is read of something that may not be PostgreSQL. Its
// errors and authentication requests are far smaller.
const maxMessage = 64 << 10

func readMessage(r io.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	// An error before the protocol is agreed upon has no length ("E" + text),
	// as when the postmaster cannot fork.
	if head[0] == 'E' && n > maxMessage {
		rest, _ := io.ReadAll(io.LimitReader(r, maxMessage))
		return 'E', append(append([]byte("M"), head[1:]...), rest...), nil
	}
	if (head[0] != 'R' && head[0] != 'E' && head[0] != 'v' && head[0] != 'N') || n < 4 || n > maxMessage {
		return 0, nil, errForeign
	}
	body = make([]byte, n-4)
	_, err = io.ReadFull(r, body)
	return head[0], body, err
}

// answer classifies the first message and takes leave.
func answer(conn net.Conn, kind byte, body []byte) Result {
	switch kind {
	case 'E':
		return errorAnswer(body)
	case 'R':
		if len(body) >= 4 && binary.BigEndian.Uint32(body) == 0 {
			leave(conn)
		}
		// For any other request closing is right: PostgreSQL takes EOF for a
		// client that wants to ask its user for the password, and logs nothing.
		return Result{Status: Alive, Connected: true}
	default:
		return Result{Status: Alive, Connected: true}
	}
}

// leave ends a session that needed no password: Terminate, then read to the
// end, lest the rest of the greeting turn our close into a reset.
func leave(conn net.Conn) {
	packet, err := (&pgproto3.Terminate{}).Encode(nil)
	if err != nil {
		return
	}
	if _, err := conn.Write(packet); err == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, maxMessage))
	}
}

func errorAnswer(body []byte) Result {
	r := Result{Connected: true, Status: Alive}
	for field := range strings.SplitSeq(string(body), "\x00") {
		if field == "" {
			continue
		}
		switch field[0] {
		case 'C':
			r.Code = field[1:]
		case 'M':
			r.Message = field[1:]
		}
	}
	switch r.Code {
	case pgerrcode.TooManyConnections:
		r.Status = Full
	case pgerrcode.CannotConnectNow, pgerrcode.AdminShutdown, pgerrcode.CrashShutdown:
		r.Status = Starting
		if r.Code != pgerrcode.CannotConnectNow || strings.Contains(r.Message, "shutting down") {
			r.Status = Stopping
		}
	case "":
		r.Status = Broken
	}
	return r
}

// unanswered classifies a failure of the network.
func unanswered(ctx context.Context, err error, connected bool) Result {
	r := Result{Connected: connected, Message: err.Error(), Err: err, Status: Unreachable}
	var dns *net.DNSError
	switch {
	case errors.Is(err, errForeign):
		r.Status = NotPostgreSQL
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		r.Status = Timeout
	case errors.As(err, &dns):
		if dns.IsTimeout {
			r.Status = Timeout
		}
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		r.Status = Refused
	case errors.Is(err, syscall.ETIMEDOUT):
		r.Status = Timeout
	case connected:
		r.Status = Broken
	}
	return r
}
