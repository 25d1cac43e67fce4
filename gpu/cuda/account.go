package cuda

// Account watches whether memory goes away past the space. Other processes on the device disturb it.
type Account struct {
	space *Space
	free  int64 // of the device, when it began
	held  int64 // by all blocks, then
}

// Account begins to watch.
func (s *Space) Account() (*Account, error) {
	free, held, err := s.now()
	if err != nil {
		return nil, err
	}
	return &Account{space: s, free: free, held: held}, nil
}

// now returns what is free and what is held. An engine that allocates meanwhile is counted in one and not in the other.
func (s *Space) now() (free, held int64, err error) {
	s.mu.Lock()
	held = s.mappedBytes()
	s.mu.Unlock()
	free, _, err = s.device.Memory()
	return free, held, err
}

// Missing returns by how many bytes the free memory has dropped more than the blocks explain: what code, contexts and
// graphs take, and whatever came past the space.
func (a *Account) Missing() (int64, error) {
	free, held, err := a.space.now()
	return (a.free - free) - (held - a.held), err
}

// Check is called once a model is loaded and warm. If more than slack bytes are missing, or memory has no tag, the model is
// not parked from then on, and an error wrapping [functions.ErrInvalid] says why.
func (a *Account) Check(model string, slack int64) error {
	missing, err := a.Missing()
	if err != nil {
		return err
	}
	untagged := a.space.Footprint("")
	a.space.mu.Lock()
	defer a.space.mu.Unlock()
	if missing > slack {
		a.space.refuse(model, "%d bytes of the device went past us, and %d were expected at most", missing, slack)
	}
	if len(untagged) > 0 {
		a.space.refuse(model, "the engine took memory on a thread that nobody told us of: %v", untagged)
	}
	return cantPark(model, a.space.model(model).reason)
}
