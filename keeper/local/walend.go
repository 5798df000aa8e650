package local

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sort"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autoctl/autoctl/fsm"
)

// The parts of a WAL record (src/include/access/xlogrecord.h) by which a shutdown and a switch to another segment are known, the same in all supported
// versions: its header, and of a shutdown the header of its main data, then a CheckPoint.
const (
	recordHeader     = 24
	recordInfo       = 16
	recordManager    = 17
	recordCRC        = 20
	recordDataHeader = 2
	managerXLOG      = 0
	infoShutdown     = 0x00 // XLOG_CHECKPOINT_SHUTDOWN
	infoSwitch       = 0x40 // XLOG_SWITCH
	infoMask         = 0xf0
)

// endsInShutdown reports whether the last record of a timeline's log that ends at end is a shutdown checkpoint: the server that wrote the log wrote nothing
// after it, unless it was started again. The end of a crash recovery looks the same.
func endsInShutdown(dataDir string, t fsm.Timeline, end fsm.LSN, major int, segment int64) bool {
	segment = cmp.Or(max(segment, 0), defaultSegment)
	start, ok := checkpointStart(end, major, segment)
	if !ok {
		return false
	}
	record, ok := readRecord(dataDir, t, start, end, segment)
	return ok && len(record) > recordHeader+recordDataHeader && record[recordManager] == managerXLOG && record[recordInfo]&infoMask == infoShutdown
}

// readRecord returns the one record that a timeline's log holds between two positions; false when that is none, or a damaged one.
func readRecord(dataDir string, t fsm.Timeline, start, end fsm.LSN, segment int64) ([]byte, bool) {
	record, err := readLog(dataDir, t, start, end, segment)
	if err != nil || len(record) < recordHeader {
		return nil, false
	}
	length := binary.NativeEndian.Uint32(record)
	if int64(length) > int64(len(record)) || int64(length)+8 <= int64(len(record)) || length < recordHeader {
		return nil, false
	}
	// As PostgreSQL counts it: the data first, then the header up to the sum.
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Checksum(record[recordHeader:length], table), table, record[:recordCRC])
	return record[:length], sum == binary.NativeEndian.Uint32(record[recordCRC:])
}

// checkpointStart is where a shutdown checkpoint that ends at end begins; false when none can end there.
func checkpointStart(end fsm.LSN, major int, segment int64) (fsm.LSN, bool) {
	for _, back := range []fsm.LSN{0, shortPageHeader, longPageHeader} {
		start := end - (checkpointEnd(0, major, 0) + back)
		page := start / pageSize * pageSize
		if start < end && start >= page+pageHeader(page, segment) && checkpointEnd(start, major, segment) == end {
			return start, true
		}
	}
	return 0, false
}

// switched reports whether a timeline's log was switched to another segment, by an archive's timeout or a backup's end, within the segment that holds byte at
// and before it: PostgreSQL leaves all behind the record of the switch zero, the headers of the pages too.
func switched(dataDir string, t fsm.Timeline, at fsm.LSN, segment int64) bool {
	segment = cmp.Or(max(segment, 0), defaultSegment)
	first := at - at%fsm.LSN(segment)
	pages := sort.Search(int(at%fsm.LSN(segment))/pageSize, func(i int) bool {
		return !written(dataDir, t, first+fsm.LSN(i)*pageSize, segment)
	})
	if pages == 0 {
		return false
	}
	page := first + fsm.LSN(pages-1)*pageSize
	content := make([]byte, pageSize)
	if err := readSegment(dataDir, t, content, page, segment); err != nil {
		return false
	}
	end := page + fsm.LSN(len(bytes.TrimRight(content, "\x00"))+7)/8*8 // records are aligned
	for _, back := range []fsm.LSN{0, shortPageHeader, longPageHeader} {
		record, ok := readRecord(dataDir, t, end-recordHeader-back, end, segment)
		if ok && len(record) == recordHeader && record[recordManager] == managerXLOG && record[recordInfo]&infoMask == infoSwitch {
			return true
		}
	}
	return false
}

// readLog returns the records of a timeline's log between two positions, without the headers of pages between.
func readLog(dataDir string, t fsm.Timeline, from, to fsm.LSN, segment int64) ([]byte, error) {
	var out []byte
	for from < to {
		page := from / pageSize * pageSize
		if from == page {
			from += pageHeader(page, segment)
		}
		until := min(to, page+pageSize)
		if until <= from {
			break
		}
		part := make([]byte, until-from)
		if err := readSegment(dataDir, t, part, from, segment); err != nil {
			return nil, err
		}
		out, from = append(out, part...), until
	}
	return out, nil
}

func readSegment(dataDir string, t fsm.Timeline, into []byte, at fsm.LSN, segment int64) error {
	f, err := os.Open(filepath.Join(dataDir, "pg_wal", segmentName(t, at, segment)))
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	defer f.Close()
	if _, err := f.ReadAt(into, int64(uint64(at)%uint64(segment))); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

// pageHeader is the length of a page's header: the first of a segment has a longer one.
func pageHeader(page fsm.LSN, segment int64) fsm.LSN {
	if uint64(page)%uint64(segment) == 0 {
		return longPageHeader
	}
	return shortPageHeader
}

// awaitStint bounds one wait for the end of the upstream's log, so that the facts are looked at again; awaitPause is for a receiver that is not there.
const (
	awaitStint = time.Second
	awaitPause = 50 * time.Millisecond
)

// awaitEnd waits until the WAL receiver has ended: by itself it does when its upstream shuts down.
func (n *Node) awaitEnd(ctx context.Context) error {
	stint := awaitPause
	ended := make(chan struct{})
	if pid := n.newest().receiver; pid != 0 {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return nil // it has ended
		}
		stint = awaitStint
		n.spawn(func(context.Context) {
			defer close(ended)
			defer func() { _ = unix.Close(fd) }()
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(awaitStint.Milliseconds()))
		})
	}
	t := time.NewTimer(stint)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}
