// Package loglink makes the logs of containers found where collectors look for them: links in the pods folder of a node's
// log folder, and in its containers folder, in the form that kubelets give them. What they lead to is the engine's.
// See https://kubernetes.io/docs/concepts/cluster-administration/logging/#log-location-node.
package loglink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"karve.dev/karve/agents/node/runtime"
)

// Dir is a folder for logs, "/var/log"; several nodes may share it. The empty Dir takes nothing.
type Dir string

// Usual is where collectors look.
const Usual Dir = "/var/log"

func (d Dir) pods() string       { return filepath.Join(string(d), "pods") }
func (d Dir) containers() string { return filepath.Join(string(d), "containers") }

func (d Dir) pod(m *runtime.Meta) string {
	return filepath.Join(d.pods(), strings.Join([]string{m.Namespace, m.Pod, m.UID}, "_"))
}

// Add links to the log of a container. Links of the pod whose containers are gone go.
func (d Dir) Add(m *runtime.Meta, id, log string) error {
	if d == "" || log == "" {
		return nil
	}
	dir := filepath.Join(d.pod(m), m.Container)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.MkdirAll(d.containers(), 0o755)); err != nil {
		return fmt.Errorf("link to a container's log: %w", err)
	}
	removeDangling(filepath.Join(dir, "*.log"))
	removeDangling(filepath.Join(d.containers(), fmt.Sprintf("%s_%s_%s-*.log", m.Pod, m.Namespace, m.Container)))
	inPod := filepath.Join(dir, strconv.Itoa(m.Attempt)+".log")
	name := fmt.Sprintf("%s_%s_%s-%s.log", m.Pod, m.Namespace, m.Container, id)
	if err := errors.Join(link(log, inPod), link(inPod, filepath.Join(d.containers(), name))); err != nil {
		return fmt.Errorf("link to a container's log: %w", err)
	}
	return nil
}

// link makes a link, in the place of one that has that name.
func link(to, at string) error {
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(to, at)
}

// RemovePod removes the links to the logs of a pod, that of any of its containers.
func (d Dir) RemovePod(m *runtime.Meta) error {
	if d == "" {
		return nil
	}
	if err := os.RemoveAll(d.pod(m)); err != nil {
		return fmt.Errorf("remove links to a pod's logs: %w", err)
	}
	removeDangling(filepath.Join(d.containers(), fmt.Sprintf("%s_%s_*.log", m.Pod, m.Namespace)))
	return nil
}

// Sweep removes what leads nowhere: containers that have been removed while no agent was there.
func (d Dir) Sweep() {
	if d == "" {
		return
	}
	removeDangling(filepath.Join(d.pods(), "*", "*", "*.log"))
	removeDangling(filepath.Join(d.containers(), "*.log"))
	for _, pattern := range []string{"*/*", "*"} {
		dirs, _ := filepath.Glob(filepath.Join(d.pods(), pattern)) // the pattern is well-formed
		for _, dir := range dirs {
			_ = os.Remove(dir) // only empty ones go
		}
	}
}

// removeDangling removes links that lead nowhere. Others, and what is no link, stay.
func removeDangling(pattern string) {
	found, _ := filepath.Glob(pattern) // names of objects hold nothing that a pattern is made of
	for _, file := range found {
		if _, err := os.Readlink(file); err != nil {
			continue
		}
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(file) // the next sweep tries again
		}
	}
}
