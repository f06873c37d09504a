# Makes a cluster, works with it and has it crash (make), then goes on with it on top (change).
# Programs are in $2; the socket is beside the data.
set -eu
bin=$2
export PGDATA=$PWD/data PGHOST=$PWD PGUSER=test PGDATABASE=postgres

start() {
  "$bin/pg_ctl" -s -w -l log -o "-c listen_addresses= -c unix_socket_directories=$PWD" start || {
    cat log
    exit 1
  }
}
stop() { "$bin/pg_ctl" -s -w -m "$1" stop; }
trap 'stop immediate 2> /dev/null || true' EXIT

work() { "$bin/pgbench" -n -c 4 -j 2 -t 25 > bench 2>&1 || { cat bench log; exit 1; }; }

# So many transactions are recorded, and all balances are the sum of them.
check() {
  found=$("$bin/psql" -XAtc "select count(*) = $1 and sum(delta) = (select sum(abalance) from pgbench_accounts)
    and sum(delta) = (select sum(bbalance) from pgbench_branches) from pgbench_history")
  [ "$found" = t ] || { echo "not $1 transactions"; exit 1; }
}

case $1 in
make)
  "$bin/initdb" -U test -A trust -E UTF8 --locale C -k -N > log
  start
  "$bin/pgbench" -q -i -s 1 > bench 2>&1
  work
  stop immediate
  start
  check 100
  ;;
change)
  start
  check 100
  work
  check 200
  ;;
esac
stop fast
"$bin/pg_checksums" --check > log
