package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// config is one node's or monitor's configuration, decoded and checked.
type config struct {
	Role       string `mapstructure:"role"`
	PostgreSQL struct {
		PGData          string `mapstructure:"pgdata"`
		PGCtl           string `mapstructure:"pgctl"`
		SocketDirectory string `mapstructure:"socket_directory"`
		Port            int    `mapstructure:"port"`
		Listen          string `mapstructure:"listen"`
		Username        string `mapstructure:"username"`
		Database        string `mapstructure:"database"`
	} `mapstructure:"postgresql"`
	Node struct {
		Name              string `mapstructure:"name"`
		Hostname          string `mapstructure:"hostname"`
		Formation         string `mapstructure:"formation"`
		Kind              string `mapstructure:"kind"`
		Group             int    `mapstructure:"group"`
		CandidatePriority int    `mapstructure:"candidate_priority"`
		ReplicationQuorum bool   `mapstructure:"replication_quorum"`
		ProxyPort         int    `mapstructure:"proxy_port"`
		CitusSecondary    bool   `mapstructure:"citus_secondary"`
		CitusCluster      string `mapstructure:"citus_cluster"`
	} `mapstructure:"node"`
	Monitor struct {
		URI string `mapstructure:"uri"`
	} `mapstructure:"monitor"`
	SSL struct {
		Source   string `mapstructure:"source"`
		Mode     string `mapstructure:"mode"`
		CAFile   string `mapstructure:"ca_file"`
		CRLFile  string `mapstructure:"crl_file"`
		CertFile string `mapstructure:"cert_file"`
		KeyFile  string `mapstructure:"key_file"`
	} `mapstructure:"ssl"`
	Auth struct {
		Method       string `mapstructure:"method"`
		SkipHBA      bool   `mapstructure:"skip_pg_hba"`
		LAN          bool   `mapstructure:"pg_hba_lan"`
		PasswordFile string `mapstructure:"password_file"`
	} `mapstructure:"auth"`
	Replication struct {
		MaximumBackupRate string `mapstructure:"maximum_backup_rate"`
	} `mapstructure:"replication"`
	Log struct {
		Level  string `mapstructure:"level"`
		Format string `mapstructure:"format"`
	} `mapstructure:"log"`
}

// loaded is a configuration together with the text of every key, for config get and for writing it.
type loaded struct {
	config
	values map[string]string
	// keptPassword is the file that create wrote a password into; empty for none.
	keptPassword string
}

// load reads a configuration: defaults, then the file at path (which may be missing when create is set), then the environment,
// then the options in flags that were given. Every value is checked; an unknown key in the file is an error. Nothing is written.
func load(path string, flags *pflag.FlagSet, create bool) (*loaded, error) {
	v := viper.New()
	v.SetConfigType("yaml")
	if err := bind(v, flags, create); err != nil {
		return nil, err
	}
	if err := readFile(v, path, create); err != nil {
		return nil, err
	}
	l := &loaded{values: map[string]string{}}
	var errs []error
	for _, k := range keys() {
		text := fmt.Sprint(v.Get(k.name))
		l.values[k.name] = text
		if k.check == nil || (create && text == fmt.Sprint(k.def)) {
			continue
		}
		if err := k.check(text); err != nil {
			errs = append(errs, fmt.Errorf("%s %w", k.origin(flags), err))
		}
	}
	if len(errs) > 0 {
		c := classConfig
		if create {
			c = classUsage
		}
		return nil, fail(c, "", "%w", errors.Join(errs...))
	}
	if err := v.UnmarshalExact(&l.config, viper.DecodeHook(boolHook)); err != nil {
		return nil, fail(classConfig, "", "decode configuration %s: %w", path, err)
	}
	return l, nil
}

// ownConfig is what the file of a data directory says of its node, whatever the environment says.
func ownConfig(pgdata string) (config, error) {
	var own struct {
		Node struct {
			Formation string `yaml:"formation"`
			Group     int    `yaml:"group"`
		} `yaml:"node"`
		Monitor struct {
			URI string `yaml:"uri"`
		} `yaml:"monitor"`
	}
	var c config
	content, err := os.ReadFile(configPath(pgdata))
	if err == nil {
		err = yaml.Unmarshal(content, &own)
	}
	if err != nil {
		return c, fail(classConfig, "", "read configuration: %w", err)
	}
	c.Node.Formation, c.Node.Group, c.Monitor.URI = own.Node.Formation, own.Node.Group, own.Monitor.URI
	return c, nil
}

// boolHook reads the words for booleans that PostgreSQL knows.
func boolHook(from, to reflect.Type, data any) (any, error) {
	if text, ok := data.(string); ok && from.Kind() == reflect.String && to.Kind() == reflect.Bool {
		return parseBool(text)
	}
	return data, nil
}

// bind gives viper every key by name: AutomaticEnv would not reach Unmarshal.
func bind(v *viper.Viper, flags *pflag.FlagSet, create bool) error {
	for _, k := range keys() {
		v.SetDefault(k.name, k.def)
		if create && k.ambient != "" && os.Getenv(k.ambient) != "" {
			v.SetDefault(k.name, os.Getenv(k.ambient))
		}
		if k.env != "" {
			if err := v.BindEnv(k.name, k.env); err != nil {
				return err
			}
		}
		if k.flag == "" || flags == nil {
			continue
		}
		if f := flags.Lookup(k.flag); f != nil && f.Changed {
			v.Set(k.name, f.Value.String())
		}
	}
	if changed(flags, "ssl-self-signed") {
		v.Set("ssl.source", sslSelfSigned)
	}
	if changed(flags, "no-ssl") {
		v.Set("ssl.source", sslOff)
	}
	if changed(flags, "server-cert") || changed(flags, "server-key") {
		v.Set("ssl.source", sslFiles)
	}
	return nil
}

func changed(flags *pflag.FlagSet, name string) bool { return flags != nil && flags.Changed(name) }

// origin names a key as the user gave it: by its option, its variable, or its name.
func (k key) origin(flags *pflag.FlagSet) string {
	switch {
	case k.flag != "" && changed(flags, k.flag):
		return "--" + k.flag
	case k.env != "" && os.Getenv(k.env) != "":
		return k.env
	}
	return k.name
}

func readFile(v *viper.Viper, path string, create bool) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if create {
			return nil
		}
		if err := inHomeOfAnother(path); err != nil {
			return err
		}
		return fail(classConfig, "create it with \"autoctl create postgres\" or \"autoctl create monitor\", or choose another one with --pgdata", "read configuration: %w", err)
	}
	if err != nil {
		return fail(classConfig, "", "read configuration: %w", err)
	}
	if err := checkFile(path, content); err != nil {
		return err
	}
	if err := v.ReadConfig(strings.NewReader(string(content))); err != nil {
		return fail(classConfig, "", "read configuration %s: %w", path, err)
	}
	return nil
}

// inHomeOfAnother tells root, that finds no configuration, whose data directory it is: the configuration is in that user's home.
func inHomeOfAnother(path string) error {
	dir := strings.TrimPrefix(filepath.Dir(path), filepath.Join(xdg("XDG_CONFIG_HOME", ".config"), "autoctl"))
	if owner := ownerOf(dir); owner == "" || owner == "root" {
		return nil
	}
	return notRoot(dir)
}

// checkFile refuses what viper would pass over in silence: unknown keys, keys given twice, a file that is no mapping.
func checkFile(path string, content []byte) error {
	damaged := func(err error) error {
		return fail(classConfig, "correct the file, or run the create command again to write a new one", "read configuration %s: %w", path, err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return damaged(err)
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return damaged(errors.New("is empty or not a mapping"))
	}
	seen := map[string]bool{}
	return eachKey(doc.Content[0], "", func(name string, at *yaml.Node) error {
		where := fmt.Sprintf("%s, line %d: ", path, at.Line)
		if seen[name] {
			return fail(classConfig, "", "%skey %q is given twice", where, name)
		}
		seen[name] = true
		if !slices.Contains(keyNames(""), name) {
			return unknownKey(classConfig, where, name)
		}
		return nil
	})
}

// eachKey visits the leaves of a mapping, and mappings that are no section.
func eachKey(m *yaml.Node, prefix string, visit func(string, *yaml.Node) error) error {
	for i := 0; i+1 < len(m.Content); i += 2 {
		k, value := m.Content[i], m.Content[i+1]
		section := slices.ContainsFunc(sections(), func(s [2]string) bool { return prefix == "" && s[0] == k.Value && k.Value != "" })
		var err error
		switch {
		case section && value.Kind == yaml.MappingNode:
			err = eachKey(value, k.Value+".", visit)
		case section && value.Tag == "!!null": // a section whose options are all comments
		default:
			err = visit(prefix+k.Value, k)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sslMode is what clients are asked to check, the default worked out.
func (c *config) sslMode() string {
	switch {
	case c.SSL.Mode != "":
		return c.SSL.Mode
	case c.SSL.Source == sslFiles && c.SSL.CAFile != "":
		return "verify-full"
	case c.SSL.Source == sslSelfSigned || c.SSL.Source == sslFiles:
		return "require"
	}
	return "prefer"
}

// configPath is where the configuration of a data directory is; see docs/settings.md.
func configPath(pgdata string) string {
	return filepath.Join(xdg("XDG_CONFIG_HOME", ".config"), "autoctl", pgdata, "autoctl.yaml")
}

// statePath is where the daemon of a data directory keeps what it must remember.
func statePath(pgdata string) string {
	return filepath.Join(xdg("XDG_DATA_HOME", ".local/share"), "autoctl", pgdata)
}

// xdg returns a base directory as the XDG specification says: a relative value of the variable is ignored.
func xdg(variable, fallback string) string {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		home = "/"
	}
	return filepath.Join(home, fallback)
}
