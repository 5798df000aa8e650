package pgserver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// LogLimit is the size from which a log file that the server's output is appended to is put aside; together with what was put aside before it stays near
// twice that, however much a server has to say.
const LogLimit = 64 << 20

// TrimLog puts the content of a log file that has grown beyond limit bytes aside, as path.1, in the place of what was put aside before. The server goes on
// writing into the same file, which is why it is copied and emptied, not renamed; what it writes between the two is lost. A missing file is fine.
func TrimLog(path string, limit int64) (trimmed bool, err error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (st.Size() < limit || !st.Mode().IsRegular()) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("trim log: %w", err)
	}
	// Without room for the copy there is the more reason to empty it.
	failed := copyLog(path, path+".1")
	if err := errors.Join(failed, os.Truncate(path, 0)); err != nil {
		return failed == nil, fmt.Errorf("trim log: %w", err)
	}
	return true, nil
}

func copyLog(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}
