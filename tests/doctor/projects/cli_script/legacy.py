import sys
print >>sys.stderr, "this one still wants Python 2"
print "%d prices" % len(sys.argv)
