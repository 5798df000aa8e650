package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Secret is how a tool learns its password. Both may be empty (trust, peer,
// certificates). It never reaches an argument list, a log or an error (P7).
type Secret struct {
	PassFile string // path of a .pgpass file
	Password string // set as PGPASSWORD
}

// String hides the password from anything that prints a Secret.
func (s Secret) String() string { return fmt.Sprintf("{PassFile:%s Password:***}", s.PassFile) }

// GoString hides the password from %#v.
func (s Secret) GoString() string { return s.String() }

func (s Secret) env() []string {
	var env []string
	if s.PassFile != "" {
		env = append(env, "PGPASSFILE="+s.PassFile)
	}
	if s.Password != "" {
		env = append(env, "PGPASSWORD="+s.Password)
	}
	return env
}

// Tool is one run of a PostgreSQL program.
type Tool struct {
	Name   string // "pg_rewind"
	Args   []string
	Secret Secret
	Env    []string  // added to a cleaned environment
	Dir    string    // working directory; "/" if empty
	Output io.Writer // receives standard output and error as they come, if not nil
}

// ToolError is a PostgreSQL program that failed.
type ToolError struct {
	Tool   string
	Exit   int    // exit code, -1 when ended by a signal
	Output string // the last lines of standard output and error
	Err    error  // what the operating system or the context said
}

// Error names the tool, what ended it and its last line of output.
func (e *ToolError) Error() string {
	text := fmt.Sprintf("run %s: %v", e.Tool, e.Err)
	if line := lastLine(e.Output); line != "" {
		text += ": " + line
	}
	return text
}

// Unwrap returns the cause.
func (e *ToolError) Unwrap() error { return e.Err }

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// toolGrace is how long a tool that was interrupted may take to clean up
// before it is killed.
const toolGrace = 5 * time.Second

// Run runs a tool to its end and returns its standard output. When ctx ends,
// the tool's whole process group gets SIGINT, and SIGKILL 5 s later. A failure
// is a *ToolError.
func (b Binaries) Run(ctx context.Context, t Tool) ([]byte, error) {
	cmd := exec.CommandContext(ctx, b.Path(t.Name), t.Args...)
	cmd.Env = append(cleanEnv(os.Environ()), t.Secret.env()...)
	cmd.Env = append(cmd.Env, t.Env...)
	cmd.Dir = t.Dir
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = toolGrace
	var stdout bytes.Buffer
	tail := &tailWriter{limit: 16 << 10, next: t.Output}
	cmd.Stdout = io.MultiWriter(&stdout, tail)
	cmd.Stderr = tail
	err := cmd.Run()
	if err == nil {
		return stdout.Bytes(), nil
	}
	if cmd.Process != nil {
		// pg_basebackup's WAL receiver is a second process of the session.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	return stdout.Bytes(), toolError(ctx, t.Name, tail.String(), err)
}

func toolError(ctx context.Context, name, output string, err error) *ToolError {
	te := &ToolError{Tool: name, Exit: -1, Output: output, Err: err}
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		te.Exit = ee.ExitCode()
	}
	if ctx.Err() != nil {
		te.Err = context.Cause(ctx)
	}
	return te
}

// cleanEnv removes what would change how PostgreSQL's programs behave or what
// they print: libpq's variables and locales. Passwords of ours stay out, too.
func cleanEnv(env []string) []string {
	out := make([]string, 0, len(env)+2)
	for _, kv := range env {
		k, _, _ := strings.Cut(kv, "=")
		ours := strings.HasPrefix(k, "PG") && !strings.HasPrefix(k, "PG_OOM_ADJUST")
		if ours || k == "AUTOCTL_PASSWORD" || strings.HasPrefix(k, "LC_") || k == "LANG" || k == "LANGUAGE" {
			continue
		}
		out = append(out, kv)
	}
	return append(out, "LC_ALL=C")
}
