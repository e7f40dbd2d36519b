"""What tests share."""

#: Seconds for what another process or thread does at once, on a machine that does many other things too. It bounds a
#: test that would hang: shorter than what must be ended would go on for, and never itself what is asserted.
SOON = 45.0
