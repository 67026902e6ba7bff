package worker

import (
	"go.uber.org/zap"

	"karve.dev/karve/agents/node/cgroup"
	"karve.dev/karve/agents/node/runtime"
)

// bound gives a container that has just started the bounds that engines know nothing of: its huge pages, and that all of it
// ends when its memory runs out.
func (s *starting) bound(running *runtime.Container) {
	if running.PID <= 0 {
		return // it is pretended, or has ended already
	}
	group, err := groupOf(running.PID)
	if err == nil {
		err = group.Bound(s.c.Resources.Limits)
	}
	if err != nil {
		s.log().Debug("bound a container", zapContainer(s.c.Name), zap.Error(err))
	}
}

// groupOf finds the control group of a process.
func groupOf(pid int) (cgroup.Group, error) {
	groups, err := cgroup.Here()
	if err != nil {
		return cgroup.Group{}, err
	}
	return groups.OfProcess(pid)
}
