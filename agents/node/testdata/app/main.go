// Command app is what containers run in the agent's tests: one program, one image, a few behaviours.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

var behaviours = map[string]func(args []string){
	"serve":  serve,
	"exit":   func(args []string) { code, _ := strconv.Atoi(args[0]); os.Exit(code) },
	"print":  func(args []string) { fmt.Println(strings.Join(args, " ")) },
	"cat":    cat,
	"env":    func([]string) { fmt.Println(strings.Join(os.Environ(), "\n")) },
	"echo":   func([]string) { _, _ = io.Copy(os.Stdout, os.Stdin) },
	"ignore": func([]string) { signal.Ignore(syscall.SIGTERM); fmt.Println("ignoring"); time.Sleep(time.Hour) },
	"sleep":  func(args []string) { d, _ := time.ParseDuration(args[0]); time.Sleep(d) },
	"write":  func(args []string) { check(os.WriteFile(args[0], []byte(args[1]), 0o644)) },
	"count":  count,
	"get":    get,
	"size":   size,
	"crash":  func(args []string) { _ = os.WriteFile("/dev/termination-log", []byte("it broke"), 0o644); os.Exit(3) },
}

func main() {
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"serve"}
	}
	run, ok := behaviours[args[0]]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such behaviour:", args[0])
		os.Exit(2)
	}
	run(args[1:])
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve answers each connection with the host's name, until SIGTERM.
func serve([]string) {
	lis, err := net.Listen("tcp", ":8080")
	check(err)
	name, _ := os.Hostname()
	fmt.Println("serving as", name)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		fmt.Println("bye")
		os.Exit(0)
	}()
	for {
		conn, err := lis.Accept()
		check(err)
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(name), name)
		_ = conn.Close()
	}
}

// count writes as many lines as it is asked for.
func count(args []string) {
	n, _ := strconv.Atoi(args[0])
	for i := range n {
		fmt.Println(i, "what is left of a line is not worth reading but it takes its place in the log")
	}
}

func get(args []string) {
	conn, err := net.DialTimeout("tcp", args[0], 5*time.Second)
	check(err)
	_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
	_, err = io.Copy(os.Stdout, conn)
	check(err)
}

// size waits for the terminal to have a size, and tells it.
func size([]string) {
	var size struct{ rows, columns, x, y uint16 }
	for size.columns == 0 {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
		if errno != 0 {
			check(errno)
		}
		time.Sleep(time.Millisecond)
	}
	fmt.Printf("%dx%d\n", size.columns, size.rows)
}

func cat(args []string) {
	for _, path := range args {
		data, err := os.ReadFile(path)
		check(err)
		_, _ = os.Stdout.Write(data)
	}
}
