package local

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
)

// rolesTimeout bounds the making of roles and of the database.
const rolesTimeout = time.Minute

// ensureRoles makes, on a server outside recovery, the role that peers come as, what it may do (streaming, and what pg_rewind reads), and the
// database that the formation serves. It writes nothing when all is there. Its commits wait for no standby.
func (n *Node) ensureRoles(ctx context.Context, goal fsm.Goal) error {
	n.mu.Lock()
	done := n.life.roles
	n.mu.Unlock()
	if done {
		return nil
	}
	if err := n.makeRoles(ctx, goal); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.life.roles, n.life.admitted = true, true
	return nil
}

func (n *Node) makeRoles(ctx context.Context, goal fsm.Goal) error {
	ctx, cancel := context.WithTimeout(ctx, rolesTimeout)
	defer cancel()
	// A session of its own: copying a template may take longer than any question.
	c, err := n.dial(ctx, "autoctl_roles")
	if err != nil {
		return err
	}
	defer closeConn(ctx, c)
	if err := n.ensureReplicator(ctx, c); err != nil {
		return fmt.Errorf("create role %s: %w", Replicator, err)
	}
	if err := n.ensureDatabase(ctx, c, goal.Database); err != nil {
		return fmt.Errorf("create database %q: %w", goal.Database, err)
	}
	if _, err := n.ensureCitus(ctx, goal.Database); err != nil {
		return fmt.Errorf("create extension citus in database %q: %w", goal.Database, err)
	}
	return nil
}

// vetPace is how often a standby that lacks a role or a database is asked again.
const vetPace = 30 * time.Second

// vet asks a standby, once in the life of its server, whether all that [Node.makeRoles] makes is there by replication: then clients need not wait for that question after a
// promotion. Where something is missing a standby refuses to make it, which is the answer.
func (n *Node) vet(ctx context.Context, goal fsm.Goal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	life := n.life.since
	if n.life.vetted || time.Since(n.life.vetTried) < vetPace {
		return
	}
	n.life.vetTried = time.Now()
	go func() {
		if err := n.makeRoles(context.WithoutCancel(ctx), goal); err != nil {
			return
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.life.vetted = n.life.since.Equal(life)
	}()
}

// granted are the functions that pg_rewind calls on its source (its documentation lists them).
const granted = `pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean)`

func (n *Node) ensureReplicator(ctx context.Context, c *pgx.Conn) error {
	var have, login bool
	var verifier string
	err := c.QueryRow(ctx, `select true, rolcanlogin and rolreplication, coalesce(rolpassword, '') from pg_authid where rolname = $1`, Replicator).Scan(&have, &login, &verifier)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if !have {
		if _, err := c.Exec(ctx, `create role `+Replicator+` login replication`); err != nil {
			return err
		}
	} else if !login {
		if _, err := c.Exec(ctx, `alter role `+Replicator+` login replication`); err != nil {
			return err
		}
	}
	if err := n.ensurePassword(ctx, c, verifier); err != nil {
		return err
	}
	var may bool
	err = c.QueryRow(ctx, `select pg_has_role($1, 'pg_read_all_stats', 'member')
		and has_function_privilege($1, 'pg_ls_dir(text, boolean, boolean)', 'execute') and has_function_privilege($1, 'pg_stat_file(text, boolean)', 'execute')
		and has_function_privilege($1, 'pg_read_binary_file(text)', 'execute') and has_function_privilege($1, 'pg_read_binary_file(text, bigint, bigint, boolean)', 'execute')`, Replicator).Scan(&may)
	if err != nil || may {
		return err
	}
	for _, sql := range []string{`grant execute on function ` + granted + ` to ` + Replicator, `grant pg_read_all_stats to ` + Replicator} {
		if _, err := c.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// ensurePassword stores the verifier of the password, never the password: no log of the server can hold it (P7).
func (n *Node) ensurePassword(ctx context.Context, c *pgx.Conn, verifier string) error {
	if n.config().PasswordFile == "" {
		return nil
	}
	password, err := n.password()
	if err != nil {
		return err
	}
	if verifies(verifier, password) {
		return nil
	}
	return n.setPassword(ctx, c, Replicator, password)
}

func (n *Node) setPassword(ctx context.Context, c *pgx.Conn, role, password string) error {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	fresh, err := scramVerifier(password, salt, 4096)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, `alter role `+pgx.Identifier{role}.Sanitize()+` password '`+fresh+`'`) // base64, digits, $ and : only
	return err
}

// scramVerifier computes what PostgreSQL stores for SCRAM-SHA-256 (RFC 5802, RFC 7677; src/common/scram-common.c). A password that is not plain
// ASCII would have to be prepared first and is taken as it is, as PostgreSQL does with what it cannot prepare.
func scramVerifier(password string, salt []byte, rounds int) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive key: %w", err)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", rounds, b64(salt), b64(stored[:]), b64(mac(salted, "Server Key"))), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text)) // a hash never fails
	return h.Sum(nil)
}

// verifies says whether a stored verifier is that of the password.
func verifies(verifier, password string) bool {
	rest, ok := strings.CutPrefix(verifier, "SCRAM-SHA-256$")
	if !ok {
		return false
	}
	rounds, rest, ok := strings.Cut(rest, ":")
	if !ok {
		return false
	}
	salt64, _, ok := strings.Cut(rest, "$")
	if !ok {
		return false
	}
	count, err := strconv.Atoi(rounds)
	if err != nil {
		return false
	}
	salt, err := base64.StdEncoding.DecodeString(salt64)
	if err != nil {
		return false
	}
	again, err := scramVerifier(password, salt, count)
	return err == nil && hmac.Equal([]byte(again), []byte(verifier))
}

func (n *Node) ensureDatabase(ctx context.Context, c *pgx.Conn, database string) error {
	var role, base bool
	err := c.QueryRow(ctx, `select exists (select from pg_roles where rolname = $1), exists (select from pg_database where datname = $2)`, n.config().Username, database).Scan(&role, &base)
	if err != nil {
		return err
	}
	if n.config().Username != "" && !role {
		if _, err := c.Exec(ctx, `create role `+pgx.Identifier{n.config().Username}.Sanitize()+` login`); err != nil {
			return err
		}
	}
	if database == "" || base {
		return nil
	}
	sql := `create database ` + pgx.Identifier{database}.Sanitize()
	if n.config().Username != "" {
		sql += ` owner ` + pgx.Identifier{n.config().Username}.Sanitize()
	}
	_, err = c.Exec(ctx, sql)
	return err
}

// rolesWanted says whether the roles have still to be looked at: on a server outside recovery that is to serve.
func (n *Node) rolesWanted(goal fsm.Goal, s sight) bool {
	return s.status == fsm.ServerRunning && !s.recovery && goal.State.Serves()
}
