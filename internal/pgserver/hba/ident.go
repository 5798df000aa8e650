package hba

import (
	"fmt"
	"strings"
)

// Mapping is one line of pg_ident.conf: whoever proves to be External may log in
// as Role, where a rule names the map.
type Mapping struct{ Map, External, Role string }

// ApplyIdent returns the content of a pg_ident.conf with the mappings in a block
// of ours at its top, whatever block it had before; without mappings it has none.
func ApplyIdent(file []byte, mappings []Mapping) ([]byte, error) {
	rest, err := Strip(file)
	if err != nil || len(mappings) == 0 {
		return rest, err
	}
	var s strings.Builder
	s.WriteString(Begin + "\n")
	for _, m := range mappings {
		if m.Map == "" || m.External == "" || m.Role == "" || strings.HasPrefix(m.External, "/") || strings.ContainsAny(m.Map+m.External+m.Role, "\n\r\x00") {
			return nil, fmt.Errorf("%w: mapping %+v", ErrRule, m)
		}
		s.WriteString(quote(m.Map) + " " + quote(m.External) + " " + quote(m.Role) + "\n")
	}
	s.WriteString(End + "\n")
	return append([]byte(s.String()), rest...), nil
}
