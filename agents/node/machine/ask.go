package machine

import (
	"errors"
	"sync"
	"time"
)

// ErrSilent is why nothing is known of a file system whose server does not answer.
var ErrSilent = errors.New("its server does not answer")

// Disks asks file systems how full they are. The kernel does not let go of who asks one whose server does not answer: so
// each is asked by one at a time, for whom the others wait only so long. The zero value is ready for use.
type Disks struct {
	mu     sync.Mutex
	asking map[string]*question
}

type question struct {
	since    time.Time
	answered chan struct{}
	disk     Disk
	err      error
}

// Of measures the file system that a folder is on, which must not take longer than patience.
func (d *Disks) Of(dir string, patience time.Duration) (Disk, error) {
	q := d.ask(dir)
	timer := time.NewTimer(max(patience-time.Since(q.since), 0))
	defer timer.Stop()
	select {
	case <-q.answered:
		return q.disk, q.err
	case <-timer.C:
		return Disk{}, ErrSilent
	}
}

// ask joins whoever is asking already.
func (d *Disks) ask(dir string) *question {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.asking[dir]; q != nil {
		return q
	}
	if d.asking == nil {
		d.asking = map[string]*question{}
	}
	q := &question{since: time.Now(), answered: make(chan struct{})}
	d.asking[dir] = q
	go func() {
		q.disk, q.err = disk(dir)
		d.mu.Lock()
		delete(d.asking, dir)
		d.mu.Unlock()
		close(q.answered)
	}()
	return q
}
