package kubeconfig

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// maxSize bounds what is read: a kubeconfig of hundreds of clusters has a few megabytes.
const maxSize = 16 << 20

// open returns the directory that holds the file, links followed, and the file's name in it. All further work goes
// through the directory's descriptor: a link that is changed meanwhile leads nowhere.
func (f File) open() (dir *os.Root, name string, err error) {
	target, err := filepath.EvalSymlinks(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		target, err = f.makeDir()
	}
	if err != nil {
		return nil, "", f.leave("it cannot be reached ("+plain(err)+")", "check its directory")
	}
	dir, err = os.OpenRoot(filepath.Dir(target))
	if err != nil {
		return nil, "", f.leave("its directory cannot be opened ("+plain(err)+")", "check its permissions")
	}
	// Who acts for somebody else must not be led into a directory that is not theirs.
	if info, err := dir.Stat("."); err != nil || f.UID != os.Geteuid() && owner(info) != f.UID {
		dir.Close()
		return nil, "", f.leave(fmt.Sprintf("its directory %s belongs to %s, not to %s", filepath.Dir(target), userName(owner(info)), userName(f.UID)), "correct the owner")
	}
	return dir, filepath.Base(target), nil
}

// makeDir makes the directory of a file that is not there yet (its parent must exist), and returns the file's path
// with the links of its directory followed.
func (f File) makeDir() (string, error) {
	dir, name := filepath.Split(filepath.Clean(f.Path))
	dir = filepath.Clean(dir)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return filepath.Join(real, name), nil
	}
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return "", err
	}
	defer parent.Close()
	if info, err := parent.Stat("."); err != nil || f.UID != os.Geteuid() && owner(info) != f.UID {
		return "", fmt.Errorf("%s does not belong to %s", filepath.Dir(dir), userName(f.UID))
	}
	base := filepath.Base(dir)
	if err := parent.Mkdir(base, 0o750); err != nil {
		return "", err
	}
	if err := f.own(parent, base); err != nil {
		return "", err
	}
	return filepath.Join(dir, name), nil
}

func (f File) own(dir *os.Root, name string) error {
	if f.UID == os.Geteuid() && f.GID == os.Getegid() {
		return nil
	}
	return dir.Lchown(name, f.UID, f.GID)
}

// read returns the file's bytes and mode; a file that is not there is empty.
func (f File) read(dir *os.Root, name string) ([]byte, os.FileMode, error) {
	file, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0o600, nil
	}
	if err != nil {
		return nil, 0, f.leave("it cannot be read ("+plain(err)+")", "make it readable for "+userName(f.UID))
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, 0, f.leave("it cannot be read ("+plain(err)+")", "check it")
	case !info.Mode().IsRegular():
		return nil, 0, f.leave("it is no regular file", "move it away")
	case owner(info) != f.UID:
		return nil, 0, f.leave(fmt.Sprintf("it belongs to %s, not to %s", userName(owner(info)), userName(f.UID)), fmt.Sprintf(`run "sudo chown %s %s"`, userName(f.UID), f.Path))
	case info.Size() > maxSize:
		return nil, 0, f.leave("it is larger than any kubeconfig", "move it away")
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSize))
	if err != nil {
		return nil, 0, f.leave("it cannot be read ("+plain(err)+")", "check it")
	}
	return data, info.Mode().Perm(), nil
}

// replace puts data in the file's place all at once.
func (f File) replace(dir *os.Root, name string, data []byte, mode os.FileMode) error {
	temp := "." + name + "." + rand.Text()
	file, err := dir.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = f.own(dir, temp)
	}
	if err == nil {
		err = dir.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, dir.Remove(temp))
	}
	return nil
}

const (
	lockWait = 2 * time.Second
	lockPoll = 20 * time.Millisecond
)

// lock keeps kubectl, which honours the same lock file, and other clusters' Karve from writing at the same time.
func (f File) lock(dir *os.Root, name string) (unlock func(), err error) {
	lock := name + ".lock"
	for deadline := time.Now().Add(lockWait); ; time.Sleep(lockPoll) {
		file, err := dir.OpenFile(lock, os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			file.Close()
			return func() { _ = dir.Remove(lock) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, f.leave("its directory cannot be written ("+plain(err)+")", "check its permissions")
		}
		if time.Now().After(deadline) {
			return nil, f.leave("another program is changing it", fmt.Sprintf("try again, or remove %s.lock when none is", f.Path))
		}
	}
}

// plain returns an error without the path that the message names already.
func plain(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

func owner(info os.FileInfo) int {
	if info == nil {
		return -1
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "user " + strconv.Itoa(uid)
}
