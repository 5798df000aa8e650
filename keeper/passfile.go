package keeper

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/autoctl/autoctl/keeper/local"
)

// checkPasswordFile makes sure that the password of the replication role can be
// read, by us and by nobody else. The password itself reaches no log, no error
// and no argument list (P7).
func checkPasswordFile(cfg Config) error {
	if cfg.PasswordFile == "" {
		return nil
	}
	const role = local.Replicator
	st, err := os.Stat(cfg.PasswordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(CodeConfig, err, "write the password of "+role+" into it, the same on all nodes", "password file %s does not exist", cfg.PasswordFile)
	}
	if err != nil {
		return refuse(CodeConfig, err, "", "password file: %v", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return refuse(CodeConfig, nil, "chmod 0600 "+cfg.PasswordFile, "password file %s is accessible to other users", cfg.PasswordFile)
	}
	content, err := os.ReadFile(cfg.PasswordFile)
	if err != nil {
		return refuse(CodeConfig, err, "it must be readable by this user", "password file: %v", err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	if strings.TrimSuffix(first, "\r") == "" {
		return refuse(CodeConfig, nil, "write the password of "+role+" into its first line", "password file %s is empty", cfg.PasswordFile)
	}
	return nil
}
