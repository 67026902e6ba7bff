package h2

import "sync"

// maxIdle bounds the goroutines that wait for work. Under load there are as many as there is work.
const maxIdle = 64

// crew are goroutines that do the work of a server's connections, one piece after the other. The stack of a new goroutine is
// small: a request would grow it four times, and copy it each time.
type crew struct {
	mu    sync.Mutex
	conns int
	idle  []chan func() // the last one rested last
}

// enroll and leave begin and end every connection. The crew's goroutines end with the last one.
func (c *crew) enroll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns++
}

func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns--; c.conns > 0 {
		return
	}
	for _, next := range c.idle {
		close(next)
	}
	c.idle = nil
}

// do has f done. It does not wait.
func (c *crew) do(f func()) {
	if next := c.wake(); next != nil {
		next <- f
		return
	}
	go c.work(f) // it ends with the crew
}

func (c *crew) wake() chan func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.idle) - 1
	if last < 0 {
		return nil
	}
	next := c.idle[last]
	c.idle[last] = nil
	c.idle = c.idle[:last]
	return next
}

// work does f and whatever comes after it.
func (c *crew) work(f func()) {
	next := make(chan func(), 1)
	for f != nil {
		f()
		if !c.rest(next) {
			return
		}
		f = <-next
	}
}

// rest makes a goroutine wait for work, unless enough do.
func (c *crew) rest(next chan func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == 0 || len(c.idle) >= maxIdle {
		return false
	}
	c.idle = append(c.idle, next)
	return true
}
