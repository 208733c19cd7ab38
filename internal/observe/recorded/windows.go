package recorded

import (
	"encoding/json"
	"fmt"
	"slices"

	"twohop/internal/observe"
	"twohop/internal/subject"
)

// described holds what an entry says of itself against what the check says of
// it. Where there are no bytes there is no file, and so no name.
func (e Entry) described(at observe.Slot, want observe.Meta) error {
	if e.Path == "" {
		want.Name = ""
	}
	if e.Meta != want {
		return &MismatchError{fmt.Sprintf("observation %s is described as %+v, and the check describes it as %+v", at, e.Meta, want)}
	}
	return nil
}

// windows holds an answer's windows against the question: whose logs they are on,
// where they begin where the question says so, and by which line they end. A
// window that is left out or cut would make lines absent that were there.
func (s *Source) windows(at observe.Slot, q observe.Question, e Entry) error {
	wrong := func(format string, args ...any) error {
		return &MismatchError{fmt.Sprintf("observation %s: ", at) + fmt.Sprintf(format, args...)}
	}
	if until, ok := q.(observe.Until); ok {
		q = until.Ask
	}
	if _, ok := q.(observe.Pods); ok {
		s.cast = observe.Cast{}
		if err := json.Unmarshal(e.Raw, &s.cast); err != nil {
			return wrong("who plays the roles: %v", err)
		}
	}
	if e.Error != "" {
		return nil // nothing is read of them, and they may have no end yet
	}
	var roles []subject.Role
	for _, w := range e.Windows {
		p, ok := s.cast.Find(w.Role)
		switch {
		case slices.Contains(roles, w.Role):
			return wrong("two windows are on the log of the %s", w.Role)
		case !ok:
			return wrong("a window is on the log of the %s, which nobody plays", w.Role)
		case p.Log != w.Log:
			return wrong("the window on the log of the %s is on %s, and its log is %s", w.Role, w.Log, p.Log)
		case w.From > w.To:
			return wrong("the window on the log of the %s ends before it begins", w.Role)
		}
		roles = append(roles, w.Role)
		if problem := s.ends(q, w); problem != "" {
			return wrong("the window on the log of the %s %s", w.Role, problem)
		}
	}
	if missing := s.unseen(q, roles); len(missing) > 0 {
		return wrong("there is no window on the log of the %s", missing[0])
	}
	return nil
}

// ends says what is wrong with the bounds of a window.
func (s *Source) ends(q observe.Question, w observe.Window) string {
	switch q := q.(type) {
	case observe.Pods:
		if w.From != w.To {
			return "is not an empty one"
		}
	case observe.Requests:
		return flushed(w, q.Flush)
	case observe.Line:
		if w.From != q.Since {
			return fmt.Sprintf("begins with line %d, and line %d was asked for", w.From, q.Since)
		}
		if w.Flush != q.Holds[0] {
			return fmt.Sprintf("is to end with %q, and %q was asked for", w.Flush, q.Holds[0])
		}
	case observe.Flush:
		if w.From != q.Since {
			return fmt.Sprintf("begins with line %d, and line %d was asked for", w.From, q.Since)
		}
		if w.Role == subject.Istiod {
			gateway, _ := s.cast.Find(subject.Gateway)
			if want := "PUSH for node:" + gateway.Name; w.Flush != want {
				return fmt.Sprintf("is to end with %q, and istiod was made to log %q", w.Flush, want)
			}
			return ""
		}
		return flushed(w, q.Token)
	default:
		return "belongs to no question that reads a log"
	}
	return ""
}

// flushed holds a window's last line against the token that caused it. A gateway
// without a listener logs nothing, and has no such line; an application's sidecar
// is read up to the lines of the requests themselves.
func flushed(w observe.Window, token string) string {
	want := ""
	switch w.Role {
	case subject.Partner:
		want = "flush-" + token
	case subject.Gateway, subject.SecondGateway:
		if want = token + ".flush.invalid"; w.Flush == "" {
			return ""
		}
	}
	if w.Flush != want {
		return fmt.Sprintf("is to end with %q, and %q was asked for", w.Flush, want)
	}
	return ""
}

// unseen are the roles whose logs an answer has to have a window on and has not.
func (s *Source) unseen(q observe.Question, have []subject.Role) (missing []subject.Role) {
	var need []subject.Role
	switch q := q.(type) {
	case observe.Pods:
		for _, p := range s.cast.Pods {
			need = append(need, p.Role)
		}
	case observe.Requests:
		if q.Held {
			return nil
		}
		need = []subject.Role{q.From}
		for _, role := range []subject.Role{subject.Gateway, subject.SecondGateway, subject.Partner} {
			if _, ok := s.cast.Find(role); ok {
				need = append(need, role)
			}
		}
	case observe.Line:
		need = []subject.Role{q.Role}
	case observe.Flush:
		need = []subject.Role{q.Role}
	}
	for _, role := range need {
		if !slices.Contains(have, role) {
			missing = append(missing, role)
		}
	}
	return missing
}
