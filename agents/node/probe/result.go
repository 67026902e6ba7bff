package probe

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// conclude counts a result and tells when it changes the container's health.
func (m *Manager) conclude(j *job, err error) {
	m.mu.Lock()
	extra := err != nil && j.due.Before(j.regular)
	early := j.early(time.Now())
	if j.removed || extra {
		m.mu.Unlock()
		return
	}
	if without := (unmade{}); errors.As(err, &without) {
		m.mu.Unlock()
		j.say("errored and resulted in unknown state", err)
		return
	}
	before := j.health
	j.tally(err == nil)
	j.count(err == nil)
	after := j.health
	m.mu.Unlock()
	if err != nil && (!early || after.Failed != "") {
		j.say("failed", err)
	}
	if after != before {
		j.Changed()
	}
}

// title is the probe's name for people.
func (j *job) title() string { return strings.ToUpper(j.kind.name[:1]) + j.kind.name[1:] }

func (j *job) say(how string, err error) {
	j.Unhealthy(fmt.Sprintf("%s probe %s: %v", j.title(), how, err))
}
