package pgserver

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// Version is a PostgreSQL version. Minor is 0 for a development or beta
// version.
type Version struct {
	Major int
	Minor int
}

// ErrVersion says that a text holds no PostgreSQL version.
var ErrVersion = errors.New("no PostgreSQL version")

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)(?:\.(\d+))?`)

// ParseVersion reads the output of `postgres --version`.
func ParseVersion(text string) (Version, error) {
	m := versionText.FindStringSubmatch(text)
	if m == nil {
		return Version{}, fmt.Errorf("parse %q: %w", text, ErrVersion)
	}
	major, err := strconv.Atoi(m[1])
	if err != nil {
		return Version{}, fmt.Errorf("parse %q: %w", text, ErrVersion)
	}
	minor, _ := strconv.Atoi(m[2]) // absent in "18beta1" and "19devel"
	return Version{Major: major, Minor: minor}, nil
}

// VersionOfNumber reads server_version_num (150018 is 15.18).
func VersionOfNumber(n int) Version { return Version{Major: n / 10000, Minor: n % 10000} }

// Number is the value of server_version_num.
func (v Version) Number() int { return v.Major*10000 + v.Minor }

// String is the version as people write it.
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }
