package fsm

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a byte position in PostgreSQL's write-ahead log. An LSN alone never orders two nodes: see [Position] (S6).
type LSN uint64

// Timeline is PostgreSQL's timeline number. Two timelines are never compared by number; epochs order them (S3, S6).
type Timeline uint32

// ParseLSN reads PostgreSQL's text form, two hexadecimal halves of at most eight digits separated by a slash. Unlike
// laxer parsers it refuses trailing text and halves that are too wide.
func ParseLSN(text string) (LSN, error) {
	hi, lo, ok := strings.Cut(text, "/")
	if !ok {
		return 0, fmt.Errorf("parse LSN %q: no slash", text)
	}
	high, err := parseHalf(hi)
	if err != nil {
		return 0, fmt.Errorf("parse LSN %q: %w", text, err)
	}
	low, err := parseHalf(lo)
	if err != nil {
		return 0, fmt.Errorf("parse LSN %q: %w", text, err)
	}
	return LSN(high<<32 | low), nil
}

func parseHalf(s string) (uint64, error) {
	if s == "" || len(s) > 8 {
		return 0, fmt.Errorf("half %q is not one to eight hexadecimal digits", s)
	}
	for _, c := range s {
		if !strings.ContainsRune("0123456789abcdefABCDEF", c) {
			return 0, fmt.Errorf("half %q is not hexadecimal", s)
		}
	}
	return strconv.ParseUint(s, 16, 32)
}

// String returns PostgreSQL's text form.
func (l LSN) String() string {
	return fmt.Sprintf("%X/%X", uint64(l)>>32, uint64(l)&0xffffffff)
}

// MarshalText writes the text form, so that JSON carries what PostgreSQL prints.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads the text form; see [ParseLSN].
func (l *LSN) UnmarshalText(text []byte) error {
	v, err := ParseLSN(string(text))
	if err != nil {
		return err
	}
	*l = v
	return nil
}
