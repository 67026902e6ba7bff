package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"karve.dev/karve/internal/cluster"
)

// steps shows what a starting daemon tells: a line a step, with a spinner below on a terminal.
type steps struct {
	mu      sync.Mutex
	tty     bool
	started time.Time
	stop    chan struct{}
	done    chan struct{}
	once    sync.Once
}

func newSteps() *steps {
	s := &steps{tty: isTerminal(os.Stdout), started: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	go s.spin()
	return s
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (s *steps) spin() {
	defer close(s.done)
	if !s.tty {
		<-s.stop
		return
	}
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	tick := time.NewTicker(80 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		s.mu.Lock()
		fmt.Printf("\r%c starting", frames[i%len(frames)])
		s.mu.Unlock()
		select {
		case <-s.stop:
			fmt.Print("\r\033[K")
			return
		case <-tick.C:
		}
	}
}

// step shows one step.
func (s *steps) step(st cluster.Step) {
	if st.Name == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty {
		fmt.Print("\r\033[K")
	}
	fmt.Printf("  %-44s %5d ms\n", st.Name, st.Milliseconds)
}

// end takes the spinner away.
func (s *steps) end() {
	s.once.Do(func() {
		close(s.stop)
		<-s.done
	})
}
