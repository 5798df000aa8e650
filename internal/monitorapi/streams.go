package monitorapi

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/autoctl/autoctl/fsm"
)

// Goals streams the goals of a node: first the present one, when there is one, then each as the monitor commits it. A reader
// that lags sees the newest, not each one: a goal replaces all before it. The channel closes when the connection is lost or ctx ends.
func (c *Client) Goals(ctx context.Context, node fsm.NodeID) (<-chan fsm.Goal, error) {
	conn, err := c.listen(ctx, fmt.Sprintf("autoctl_goal_%d", node))
	if err != nil {
		return nil, err
	}
	first, err := c.fetchGoal(ctx, conn, node)
	if err != nil {
		hangUp(ctx, conn)
		return nil, classify(err, c.where)
	}
	out := make(chan fsm.Goal, 1)
	if first.State != fsm.StateInit {
		out <- first
	}
	go func() {
		defer close(out)
		defer hangUp(ctx, conn)
		for {
			n, err := conn.WaitForNotification(ctx)
			if err != nil {
				return
			}
			goal, err := c.goalOf(ctx, conn, node, n)
			if err != nil {
				return
			}
			offerNewest(out, goal)
		}
	}()
	return out, nil
}

// goalOf reads a goal from the notification, or, when it was too long for one, fetches it.
func (c *Client) goalOf(ctx context.Context, conn *pgx.Conn, node fsm.NodeID, n *pgconn.Notification) (fsm.Goal, error) {
	var goal fsm.Goal
	if err := json.Unmarshal([]byte(n.Payload), &goal); err == nil && goal.State != "" {
		return goal, nil
	}
	return c.fetchGoal(ctx, conn, node)
}

func (c *Client) fetchGoal(ctx context.Context, conn *pgx.Conn, node fsm.NodeID) (fsm.Goal, error) {
	goal := fsm.Goal{Node: node, State: fsm.StateInit}
	ctx, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
	defer cancel()
	raw, err := query(ctx, conn, "goal", []any{int64(node)})
	if err != nil {
		return goal, err
	}
	return goal, decode(raw, &goal, "goal")
}

// offerNewest puts goal into the one-place buffer, in place of an older one that nobody took. There is one sender.
func offerNewest(out chan fsm.Goal, goal fsm.Goal) {
	select {
	case out <- goal:
		return
	default:
	}
	select {
	case <-out:
	default:
	}
	out <- goal
}

// Changes streams what happens in a formation ("" for all), from now on. The channel closes when the connection is lost or ctx
// ends. A reader must keep up: the monitor's notifications queue in its PostgreSQL until they are read.
func (c *Client) Changes(ctx context.Context, formation string) (<-chan Change, error) {
	conn, err := c.listen(ctx, "autoctl_change")
	if err != nil {
		return nil, err
	}
	out := make(chan Change, 64)
	go func() {
		defer close(out)
		defer hangUp(ctx, conn)
		for {
			n, err := conn.WaitForNotification(ctx)
			if err != nil {
				return
			}
			var ch Change
			if json.Unmarshal([]byte(n.Payload), &ch) != nil || formation != "" && ch.Formation != formation {
				continue
			}
			select {
			case out <- ch:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// Command gives an operator's command to the monitor and waits for its answer: it listens before it asks. The command's end, when
// the answer is [fsm.OutcomeAccepted], is seen in [Client.Changes]. When ctx ends first the command may still be carried out.
func (c *Client) Command(ctx context.Context, formation string, group int, cmd fsm.Command) (fsm.Answer, error) {
	conn, err := c.listen(ctx, "autoctl_answer")
	if err != nil {
		return fsm.Answer{}, err
	}
	defer hangUp(ctx, conn)
	text, err := encode(cmd)
	if err != nil {
		return fsm.Answer{}, err
	}
	raw, err := query(ctx, conn, "command", []any{formation, group, text})
	for attempt := 0; mayRetry(err) && attempt < 5; attempt++ {
		raw, err = query(ctx, conn, "command", []any{formation, group, text})
	}
	if err != nil {
		return fsm.Answer{}, classify(err, c.where)
	}
	var id int64
	if err := decode(raw, &id, "command"); err != nil {
		return fsm.Answer{}, err
	}
	return c.awaitAnswer(ctx, conn, id)
}

// awaitAnswer waits for the notification of the answer, and looks once a second in case the monitor restarts meanwhile.
func (c *Client) awaitAnswer(ctx context.Context, conn *pgx.Conn, id int64) (fsm.Answer, error) {
	for {
		var answer *fsm.Answer
		if err := c.call(ctx, &answer, "answer", id); err != nil && CodeOf(err) != CodeUnreachable {
			return fsm.Answer{}, err
		}
		if answer != nil {
			return *answer, nil
		}
		if err := ctx.Err(); err != nil {
			return fsm.Answer{}, &Error{Code: CodeUnreachable, Text: fmt.Sprintf("the monitor at %s has not answered command %d", c.where, id),
				Hint: "is the monitor's autoctl process running? The command stays with it and may still be carried out", Cause: err}
		}
		c.awaitNews(ctx, conn, fmt.Sprint(id))
	}
}

// awaitNews returns when the wanted answer is announced, and after a second at the latest.
func (c *Client) awaitNews(ctx context.Context, conn *pgx.Conn, id string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for !conn.IsClosed() {
		n, err := conn.WaitForNotification(ctx)
		if err == nil && n.Payload == id {
			return
		}
		if err != nil {
			break
		}
	}
	<-ctx.Done() // without its connection, or after the second: look
}

// listen opens a connection of its own that listens to a channel, and checks the protocol.
func (c *Client) listen(ctx context.Context, channel string) (*pgx.Conn, error) {
	short, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
	defer cancel()
	conn, err := c.connect(short)
	if err != nil {
		return nil, classify(err, c.where)
	}
	if _, err = conn.Exec(short, "listen "+pgx.Identifier{channel}.Sanitize()); err == nil {
		_, err = query(short, conn, "hello", []any{c.opts.Software})
	}
	if err != nil {
		hangUp(ctx, conn)
		return nil, classify(err, c.where)
	}
	return conn, nil
}
