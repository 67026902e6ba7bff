package worker

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/sys/user"
	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

const (
	passwdFile = "/etc/passwd"
	groupFile  = "/etc/group"
	// maxAccounts bounds the images whose users are remembered.
	maxAccounts = 256
)

// identity says as whom a container runs and in which further groups. The engine adds the groups that the image gives a
// user unless a group is named, and then none of them. Kubernetes has that as a policy: Merge adds them always, Strict never.
// So where the two differ, what the image says is looked up here.
// See https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#supplementalgroupspolicy.
func (s *starting) identity(ctx context.Context, uid, gid *int64, img runtime.Image) (as string, groups []string, err error) {
	as = userSpec(uid, gid, img.User)
	strict := false
	if pod := s.pod.Spec.SecurityContext; pod != nil {
		strict = pod.SupplementalGroupsPolicy != nil && *pod.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict
		for _, extra := range pod.SupplementalGroups {
			groups = append(groups, strconv.FormatInt(extra, 10))
		}
		if pod.FSGroup != nil {
			groups = append(groups, strconv.FormatInt(*pod.FSGroup, 10))
		}
	}
	name, _, named := strings.Cut(cmp.Or(as, img.User), ":")
	if strict == named {
		return as, groups, nil
	}
	known, err := s.pool.accountsOf(ctx, img.ID)
	if err != nil {
		return "", nil, fmt.Errorf("find the groups of user %q: %w", name, err)
	}
	if strict {
		return known.withGroup(name), groups, nil
	}
	return as, append(groups, known.memberships(name)...), nil
}

// accounts are the users and groups of an image.
type accounts struct {
	users  []user.User
	groups []user.Group
}

// imageAccounts remembers what images say of users. Safe for concurrent use.
type imageAccounts struct {
	mu      sync.Mutex
	known   map[string]accounts // by the image's ID
	reading singleflight.Group
}

// accountsOf reads an image's accounts, once. Where the engine cannot show them there are none.
func (p *Pool) accountsOf(ctx context.Context, image string) (accounts, error) {
	p.accounts.mu.Lock()
	out, ok := p.accounts.known[image]
	p.accounts.mu.Unlock()
	reader, can := p.cfg.Runtime.(runtime.ImageReader)
	if ok || !can {
		return out, nil
	}
	read, err, _ := p.accounts.reading.Do(image, func() (any, error) {
		files, err := reader.ReadImage(ctx, p.cfg.Owner, image, passwdFile, groupFile)
		if err != nil {
			return out, err
		}
		return p.accounts.learn(image, files)
	})
	return read.(accounts), err
}

func (i *imageAccounts) learn(image string, files map[string][]byte) (out accounts, err error) {
	if out.users, err = user.ParsePasswd(bytes.NewReader(files[passwdFile])); err != nil {
		return out, fmt.Errorf("%s: %w", passwdFile, err)
	}
	if out.groups, err = user.ParseGroup(bytes.NewReader(files[groupFile])); err != nil {
		return out, fmt.Errorf("%s: %w", groupFile, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.known) >= maxAccounts {
		clear(i.known)
	}
	if i.known == nil {
		i.known = map[string]accounts{}
	}
	i.known[image] = out
	return out, nil
}

// find returns the user of a name or number. One that the image does not know has the number alone.
func (a accounts) find(name string) (user.User, error) {
	id, err := strconv.Atoi(cmp.Or(name, "0"))
	for _, u := range a.users {
		if u.Name == name || err == nil && u.Uid == id {
			return u, nil
		}
	}
	return user.User{Uid: id}, err
}

// withGroup names a user together with its own group. A name that is not known is left for the engine to refuse.
func (a accounts) withGroup(name string) string {
	u, err := a.find(name)
	if err != nil {
		return name
	}
	return fmt.Sprintf("%d:%d", u.Uid, u.Gid)
}

// memberships are the groups that a user is listed in.
func (a accounts) memberships(name string) []string {
	u, _ := a.find(name)
	var out []string
	for _, g := range a.groups {
		if u.Name != "" && slices.Contains(g.List, u.Name) {
			out = append(out, strconv.Itoa(g.Gid))
		}
	}
	return out
}
