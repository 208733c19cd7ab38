package images

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"twohop/internal/engine"
)

const (
	// pullWithin bounds one pull. kindest/node is 350 MB: 0.4 MB/s will do.
	pullWithin = 15 * time.Minute
	// firstPullWithin bounds the first pull where the registry did not answer us:
	// the engine may have a mirror or a proxy of its own, but then it shows soon.
	firstPullWithin = 2 * time.Minute
)

// pullAll pulls what is missing, and looks at everything again: another run
// may have pulled it in the meantime.
func (s *session) pullAll(ctx context.Context, all, missing []*officialImage) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.checkSpace(ctx, needOfficialWork, needOfficialEngine); err != nil {
		return err
	}
	missing, err := s.look(ctx, missing)
	if err != nil || len(missing) == 0 {
		return err
	}
	s.journal.watch()
	within := pullWithin
	registry := registryOf(missing[0].host)
	ask, cancel := context.WithTimeout(ctx, registryWithin)
	if err := registryAnswers(ask, registryURL(registry)); err != nil && ctx.Err() == nil {
		within = firstPullWithin
		s.say("images: %s does not answer this program within %s (%v); leaving it to %s for %s", registry, registryWithin, err, s.eng.Name, within)
	}
	cancel()
	if err := s.pull(ctx, missing[0], within); err != nil {
		return err
	}
	if missing[0] == all[0] { // the client, which has a shell's tools
		if err := s.privileged(ctx, missing[0].host); err != nil {
			return err
		}
	}
	g, pulls := errgroup.WithContext(ctx)
	g.SetLimit(3)
	for _, image := range missing[1:] {
		g.Go(func() error { return s.pull(pulls, image, pullWithin) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	missing, err = s.look(ctx, all)
	if err != nil || len(missing) == 0 {
		return err
	}
	image := missing[0]
	if image.id != "" {
		return &engine.EnvironmentError{
			What: fmt.Sprintf("%s has the digest %s, and %s is pinned", image.host, image.digest, image.pin),
			Do:   "see where " + registryOf(image.host) + " has it from; versions.env says which digest is expected",
		}
	}
	return fmt.Errorf("%s pulled %s, and does not have it", s.eng.Name, image.host)
}

func (s *session) pull(ctx context.Context, image *officialImage, within time.Duration) error {
	return s.journal.step("pull "+image.host, func(st *step) error {
		args := []string{"pull"}
		if s.eng.Name == engine.Podman && isLoopback(registryOf(image.host)) {
			args = append(args, "--tls-verify=false") // docker does so by itself
		}
		bounded, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not done within %s", within))
		defer cancel()
		ref := image.host
		if image.pin != "" {
			ref = image.repository() + "@" + image.pin
		}
		err := st.run(s.engineCommand(bounded, append(args, ref)...), nil)
		switch {
		case err == nil && ref != image.host:
			return st.run(s.engineCommand(ctx, "tag", ref, image.host), nil)
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case bounded.Err() != nil:
			err = context.Cause(bounded)
		}
		return pullError(image, s.logFile, err)
	})
}

var (
	notThere  = regexp.MustCompile(`(?i)manifest unknown|: not found|name unknown|not known to registry|repository does not exist|access to the resource is denied|no such manifest`)
	rateLimit = regexp.MustCompile(`(?i)toomanyrequests|too many requests|rate limit`)
	needLogin = regexp.MustCompile(`(?i)unauthorized|authentication required|no basic auth`)
	plainHTTP = regexp.MustCompile(`(?i)server gave HTTP response to HTTPS client`)
	late      = regexp.MustCompile(`^not done within |(?i)context deadline exceeded|client\.timeout`)
)

// pullError says in one sentence why an image could not be pulled; log has more.
func pullError(image *officialImage, log string, err error) error {
	text := err.Error()
	registry := registryOf(image.host)
	cause := errors.New(lastPart(text))
	const orElse = "set REGISTRY to one that stands in for docker.io, or IMAGES=source to build everything from package registries"
	switch {
	case diskFull.MatchString(text):
		return err // classify knows
	case rateLimit.MatchString(text):
		return &engine.EnvironmentError{What: registry + " lets nobody pull " + image.host + " for now (its rate limit)", Do: "log in to it, wait, or " + orElse, Err: cause}
	case notThere.MatchString(text) && image.pin != "":
		return &engine.EnvironmentError{What: fmt.Sprintf("%s has no %s of the pinned digest %s", registry, image.host, image.pin), Do: "see that versions.env and the " + digestPin + "… of the environment are right, or " + orElse, Err: cause}
	case notThere.MatchString(text):
		return &engine.UsageError{What: fmt.Sprintf("%s has no image %s: see that %s is a version that was released (%s)", registry, image.host, image.variable, lastPart(text))}
	case needLogin.MatchString(text):
		return &engine.EnvironmentError{What: registry + " wants a login for " + image.host, Do: "log in to it, or " + orElse, Err: cause}
	case plainHTTP.MatchString(text):
		return &engine.EnvironmentError{What: registry + " speaks plain HTTP, which is used on loopback only", Do: "give it TLS, or make the engine trust it", Err: cause}
	case unreachable.MatchString(text), late.MatchString(text):
		return &engine.EnvironmentError{What: "the container registry " + registry + " does not answer, or not to the end", Do: "see that this machine reaches it, " + orElse, Err: cause}
	}
	return &engine.EnvironmentError{What: image.host + " could not be pulled", Do: "read " + log + ", or " + orElse, Err: cause}
}

// lastPart is the end of an error that repeats several lines.
func lastPart(text string) string {
	if i := strings.LastIndex(text, " / "); i >= 0 {
		text = text[i+len(" / "):]
	}
	return strings.TrimPrefix(strings.TrimSpace(text), "Error: ")
}
