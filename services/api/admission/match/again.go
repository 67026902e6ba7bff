package match

import (
	"bytes"

	"karve.dev/karve/services/api/admission"
)

// Again is what a plugin that changes objects remembers of the first round of a write: which of its webhooks or policies
// are to be asked once more, since somebody has changed the object after them. Nobody is asked in the second round for the
// first time.
type Again struct {
	round *admission.Round
	// eligible want to be asked again, due are those of them that will be.
	eligible, due map[string]bool
	object        []byte
}

// Remember returns what the plugin remembers of the write; object is how it looks now, as far as anybody has to know.
func Remember(plugin any, a *admission.Attributes, views *Views) *Again {
	m, _ := a.Round().Remembered(plugin).(*Again)
	if m == nil {
		m = &Again{round: a.Round(), eligible: map[string]bool{}, due: map[string]bool{}}
		a.Round().Remember(plugin, m)
	} else if !bytes.Equal(m.object, views.snapshot()) {
		m.wake()
	}
	return m
}

func (m *Again) wake() {
	for id := range m.eligible {
		m.due[id] = true
	}
	clear(m.eligible)
}

// Due reports whether one is to be asked in this round.
func (m *Again) Due(id string) bool { return !m.round.Second || m.due[id] }

// Asked notes that one was asked, whether the object is another since, and whether it wants to be asked again when
// others change it.
func (m *Again) Asked(id string, changed, again bool) {
	if changed {
		m.wake()
		m.round.Changed, m.round.Again = true, true
	}
	if again {
		m.eligible[id] = true
	}
}

// Done notes how the object looks at the end of the round.
func (m *Again) Done(views *Views) {
	if len(m.eligible) > 0 || len(m.due) > 0 {
		m.object = views.snapshot()
	}
}

func (v *Views) snapshot() []byte {
	view, err := v.Of(v.write.Kind)
	if err != nil {
		return nil
	}
	data, _ := view.ObjectJSON()
	return data
}
