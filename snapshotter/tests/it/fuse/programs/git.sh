# Makes a repository (make), then clones it from a lower layer and works in both (change).
set -eu
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
git() { command git -c user.name=test -c user.email=test@example.org -c gc.auto=0 "$@"; }

# A repository that is whole and has nothing to commit.
whole() {
  git -C "$1" fsck --full --strict --no-progress
  changed=$(git -C "$1" status --porcelain)
  [ -z "$changed" ] || { echo "$1: $changed"; exit 1; }
}

case $1 in
make)
  git init -q -b main origin
  cd origin
  for i in $(seq 300); do
    mkdir -p "d$((i % 17))/deep"
    seq "$i" > "d$((i % 17))/deep/f$i"
  done
  git add .
  git commit -qm one
  git checkout -q -b other
  git mv d3 moved
  git rm -qr d5
  git commit -qm two
  git checkout -q main
  whole .
  ;;
change)
  # The first clone links to the objects, the second gets a pack.
  git clone -q origin linked
  git clone -q --no-local origin packed
  for repository in origin linked packed; do
    whole "$repository"
    cd "$repository"
    git checkout -q other
    [ ! -e d3 ] && [ -e moved/deep/f3 ]
    whole .
    git checkout -q main
    echo more >> d1/deep/f1
    [ "$(git status --porcelain)" = " M d1/deep/f1" ]
    git commit -qam three
    git gc -q --prune=now
    whole .
    cd ..
  done
  rm -r linked
  whole origin
  ;;
esac
