package pgserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/autoctl/autoctl/internal/pgserver/disk"
	"golang.org/x/sys/unix"
)

// FreeSharedMemory removes the shared memory that killed servers left in the
// kernel, for the data directory root or for all below it. A later start in the
// same directory does that itself; it is for directories that are about to be
// deleted, whose segments would stay until the machine restarts and in the end
// keep every server of it from starting (kernel.shmmni). A running server's
// memory is left, and a directory that does not exist has none.
func FreeSharedMemory(root string) error {
	var errs []error
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil // gone, or nothing of ours
		}
		if err != nil || !e.IsDir() || !isDataDir(path) {
			return err
		}
		errs = append(errs, freeOf(path))
		return filepath.SkipDir
	})
	if err := errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("free shared memory: %w", err)
	}
	return nil
}

func isDataDir(path string) bool {
	_, err := os.Lstat(filepath.Join(path, "PG_VERSION"))
	return err == nil
}

// RemoveDataDir deletes a data directory for good, with what its servers left in
// the kernel; of one that is itself a mount point, all that is in it. One that
// does not exist is fine.
func RemoveDataDir(dataDir string) error {
	return errors.Join(FreeSharedMemory(dataDir), disk.RemoveTree(dataDir))
}

// freeOf frees what one data directory's servers left.
func freeOf(dataDir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dataDir, &st); err != nil {
		return err
	}
	segments, err := unusedSegments(uint32(st.Ino))
	for _, id := range segments {
		err = errors.Join(err, freeSegment(id, &st))
	}
	return err
}

// keyTries is how far from its directory's inode number a segment's key may be:
// a server whose key is taken tries the next (PostgreSQL's sysv_shmem.c).
const keyTries = 16

// unusedSegments returns the ids of System V segments whose server has ended and
// whose keys are those of a directory with this inode number. Keys wrap as the
// kernel's 32-bit numbers do. The last children of a server that was killed may
// still have it mapped; it goes when they have ended.
func unusedSegments(inode uint32) ([]int, error) {
	table, err := os.ReadFile("/proc/sysvipc/shm")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // a kernel without them
	}
	if err != nil {
		return nil, err
	}
	var ids []int
	for line := range strings.Lines(string(table)) {
		// key shmid perms size cpid lpid nattch …
		f := strings.Fields(line)
		if len(f) < 7 || f[6] != "0" && !ended(f[4]) {
			continue
		}
		key, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil || uint32(key)-inode >= keyTries {
			continue
		}
		if id, err := strconv.Atoi(f[1]); err == nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// ended says whether the process of this number, a segment's creator, is gone;
// not of one that another namespace numbers, which is 0 here.
func ended(number string) bool {
	pid, err := strconv.Atoi(number)
	return err == nil && pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// What a server's segment and its list of dynamic segments begin with:
// PGShmemHeader in PostgreSQL's pg_shmem.h, dsm_control_header in dsm.c.
const (
	segmentMagic = 679834894
	controlMagic = 0x9a503d32
)

// freeSegment removes one segment if it is of this directory, and the dynamic
// memory that it leads to.
func freeSegment(id int, dir *unix.Stat_t) error {
	mem, err := unix.SysvShmAttach(id, 0, unix.SHM_RDONLY)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIDRM) || errors.Is(err, unix.EACCES) {
		return nil // gone meanwhile, or another user's
	}
	if err != nil {
		return fmt.Errorf("attach segment %d: %w", id, err)
	}
	own, dynamic := ofDirectory(mem, dir)
	if err := unix.SysvShmDetach(mem); err != nil {
		return fmt.Errorf("detach segment %d: %w", id, err)
	}
	if !own {
		return nil
	}
	freeDynamic(dynamic)
	if _, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("remove segment %d: %w", id, err)
	}
	return nil
}

// ofDirectory says whether a segment was made for the directory, and which
// dynamic segment lists its others. Where device and inode number are differs
// between versions; they are side by side in all.
func ofDirectory(mem []byte, dir *unix.Stat_t) (bool, uint32) {
	if len(mem) < 32 || binary.NativeEndian.Uint32(mem) != segmentMagic {
		return false, 0
	}
	words := min(len(mem), 64) / 8 * 8
	for at := 32; at+16 <= words; at += 8 {
		if binary.NativeEndian.Uint64(mem[at:]) == dir.Dev && binary.NativeEndian.Uint64(mem[at+8:]) == dir.Ino {
			return true, binary.NativeEndian.Uint32(mem[24:])
		}
	}
	return false, 0
}

// freeDynamic deletes a server's control segment and those listed in it. The
// list's layout differs between versions, so that every word that is the name
// of a segment counts as one.
func freeDynamic(control uint32) {
	if control == 0 {
		return // not POSIX memory
	}
	content, err := os.ReadFile(dynamicPath(control))
	if err != nil || len(content) < 4 || binary.NativeEndian.Uint32(content) != controlMagic {
		return
	}
	for rest := content[4:]; len(rest) >= 4; rest = rest[4:] {
		if handle := binary.NativeEndian.Uint32(rest); handle != 0 {
			_ = os.Remove(dynamicPath(handle)) // most words are none
		}
	}
	_ = os.Remove(dynamicPath(control)) // what cannot be removed stays, as before
}

func dynamicPath(handle uint32) string {
	return filepath.Join("/dev/shm", fmt.Sprintf("PostgreSQL.%d", handle))
}
