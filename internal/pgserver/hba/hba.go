// Package hba writes autoctl's part of pg_hba.conf: one marked block at the top
// of the file, rewritten as a whole from typed rules. Everything outside the
// block stays byte for byte.
//
// The block is at the top because the first matching line decides, and because
// the crash gate (S16) must stand before any line that admits clients.
package hba

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// The lines between which the file is ours.
const (
	Begin = "# BEGIN autoctl"
	End   = "# END autoctl"
)

// Connection types.
const (
	Local       = "local"
	Host        = "host" // with or without TLS
	HostSSL     = "hostssl"
	HostNoSSL   = "hostnossl"
	HostGSSEnc  = "hostgssenc"
	HostNoGSS   = "hostnogssenc"
	All         = "all"         // keyword: any database (not replication) or any user
	Replication = "replication" // keyword: physical replication connections
)

// Rule is one line. Databases and Users are quoted as needed, except for the
// keywords of the package's constants; a Users entry "+name" means the members of a role.
type Rule struct {
	Type      string
	Databases []string
	Users     []string
	// Address is a network in CIDR form, an address (which gets its full mask), a host name, "all",
	// "samehost" or "samenet". Empty for Local.
	Address string
	Method  string
	Options []Option
}

// Option is one method option, as in map=autoctl.
type Option struct{ Name, Value string }

// Gate keeps every client out but those it admits. Replication connections are
// not rejected: "all" does not match them, and the standbys that must confirm
// the end of WAL have to come in.
type Gate struct {
	Admit []Rule
}

// Block is the content of our part.
type Block struct {
	Gate  *Gate // nil: open
	Rules []Rule
}

// ErrRule says that a rule cannot be written as a line.
var ErrRule = errors.New("bad pg_hba rule")

// ErrUnterminated says that a file has our opening mark without the closing
// one: somebody edited it, and what follows may be his.
var ErrUnterminated = errors.New("pg_hba.conf has \"" + Begin + "\" without \"" + End + "\"")

// Render writes the block with its marks.
func (b Block) Render() ([]byte, error) {
	var s strings.Builder
	s.WriteString(Begin + "\n")
	rules := b.Rules
	if b.Gate != nil {
		rules = append(append(append([]Rule{}, b.Gate.Admit...), gateRules...), b.Rules...)
	}
	for _, r := range rules {
		line, err := r.Render()
		if err != nil {
			return nil, err
		}
		s.WriteString(line + "\n")
	}
	s.WriteString(End + "\n")
	return []byte(s.String()), nil
}

var gateRules = []Rule{
	{Type: Local, Databases: []string{All}, Users: []string{All}, Method: "reject"},
	{Type: Host, Databases: []string{All}, Users: []string{All}, Address: "all", Method: "reject"},
}

// Apply returns a file's content with the block at its top, whatever block it
// had before; an empty block leaves no marks.
func (b Block) Apply(file []byte) ([]byte, error) {
	rest, err := Strip(file)
	if err != nil || b.Gate == nil && len(b.Rules) == 0 {
		return rest, err
	}
	block, err := b.Render()
	if err != nil {
		return nil, err
	}
	return append(block, rest...), nil
}

// Strip returns a file's content without our block.
func Strip(file []byte) ([]byte, error) {
	var out []byte
	inside := false
	for _, l := range splitLines(file) {
		switch strings.TrimRight(string(l), " \t\r\n") {
		case Begin:
			inside = true
		case End:
			if !inside {
				out = append(out, l...)
			}
			inside = false
		default:
			if !inside {
				out = append(out, l...)
			}
		}
	}
	if inside {
		return nil, fmt.Errorf("strip block: %w", ErrUnterminated)
	}
	return out, nil
}

// Write puts the block at the top of a pg_hba.conf, atomically and durably;
// mode and owner stay. It says whether the file changed.
func (b Block) Write(path string) (changed bool, err error) {
	old, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("read pg_hba.conf: %w", err)
	}
	data, err := b.Apply(old)
	if err != nil {
		return false, err
	}
	return disk.WriteFile(path, data, 0o600)
}

// Gated says whether a file's content has our block with a closed gate.
func Gated(file []byte) bool {
	inside := false
	for _, l := range Tokenize(file) {
		switch text := strings.TrimRight(l.Raw, " \t\r\n"); {
		case text == Begin:
			inside = true
		case text == End:
			return false
		case inside && l.isGate():
			return true
		}
	}
	return false
}

func (l Line) isGate() bool {
	last := len(l.Fields) - 1
	return last >= 3 && l.Fields[0].is(Host) && l.Fields[1].is(All) && l.Fields[2].is(All) && l.Fields[last].is("reject")
}
